//! Maps that networks make. [`made`] knows every module. Asks through [`Look`], so that tests need no host.
//!
//! Most modules are a [`Recipe`]: which network is asked for, how it is fed (`input`), and how its numbers become a map
//! (`output`, with `classes`, `edges`, `parts`, `segments` and `slopes`). Such a network takes one picture and gives one map, or
//! the numbers that one is drawn from; that is what it is exported as. Those of [`MAKERS`], a file each, do more. `pose` and
//! `simcc` draw figures. What several of these need has files of its own: detectors (`blaze`, `boxes`) and what is shown of a
//! picture (`sampling`, `square`).

mod anyline;
mod blaze;
mod boosted;
mod boxes;
mod classes;
mod dsine;
mod edges;
mod faces;
mod hands;
mod input;
mod lama;
mod masks;
mod output;
mod parts;
mod pose;
mod sampling;
mod segments;
mod simcc;
mod slopes;
mod square;

use gesso_core::pixels::Pixels;
use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::Value;
use gesso_plugin::{Fault, Random};

use crate::{Settings, resolution, unfit};
use classes::Palette;
use input::Feed;
use output::{Reading, Steps};

/// What is asked of the host.
pub(crate) trait Look {
    fn networks(&self) -> Result<Vec<String>, Fault>;
    fn about(&self, network: &str) -> Result<Option<Value>, Fault>;
    fn run(&self, network: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault>;
}

/// A module that needs a network.
#[derive(Debug)]
struct Recipe {
    module: &'static str,
    /// Stems of the files it may be, the published weights' first.
    networks: &'static [&'static str],
    feed: Feed,
    reading: Reading,
}

/// What crosses to the host at once has 64 MiB, four bytes for each number.
const NUMBERS_MAX: usize = 15 << 20;

const MIDAS: &[&str] = &["dpt_hybrid-midas-501f0c75", "depth"];
const LERES: &[&str] = &["res101", "depth_leres"];
const HED: &[&str] = &["ControlNetHED", "hed"];
const PIDINET: &[&str] = &["table5_pidinet", "pidinet"];
const DENSEPOSE: &[&str] = &["densepose_r50_fpn_dl", "densepose"];

const RECIPES: [Recipe; 26] = [
    recipe("depth", MIDAS, Feed::SIGNED, Reading::Nearness),
    recipe("depth_zoe", &["ZoeD_M12_N", "depth_zoe"], Feed::UNIT, Reading::Distance),
    recipe("depth_anything", &["depth_anything_vitl14", "depth_anything"], Feed::PATCHES, Reading::Nearness),
    recipe(
        "depth_anything_v2",
        &["depth_anything_v2_vitl", "depth_anything_v2"],
        Feed::PATCHES,
        Reading::Nearness,
    ),
    recipe("depth_leres", LERES, Feed::IMAGENET_LEVELS, Reading::Remoteness),
    recipe("normal_map", MIDAS, Feed::SIGNED, Reading::Slopes),
    recipe("normal_bae", &["scannet", "normal_bae"], Feed::IMAGENET, Reading::Normals),
    recipe("hed", HED, Feed::LEVELS, Reading::Logits(Steps::Smooth)),
    recipe("hed_safe", HED, Feed::LEVELS, Reading::Logits(Steps::Two)),
    recipe("scribble_hed", HED, Feed::LEVELS, Reading::ScribbledLogits),
    recipe("softedge_teed", &["7_model", "softedge_teed"], Feed::LEVELS, Reading::Logits(Steps::Asked)),
    recipe("pidinet", PIDINET, Feed::BLUE_FIRST, Reading::Strength(Steps::Smooth)),
    recipe("pidinet_safe", PIDINET, Feed::BLUE_FIRST, Reading::Strength(Steps::Two)),
    recipe("pidinet_sketch", PIDINET, Feed::BLUE_FIRST, Reading::Sketch),
    recipe("pidinet_scribble", PIDINET, Feed::BLUE_FIRST, Reading::ScribbledStrength),
    recipe("lineart", &["sk_model", "lineart"], Feed::UNIT, Reading::Paper),
    recipe("lineart_coarse", &["sk_model2", "lineart_coarse"], Feed::UNIT, Reading::Paper),
    recipe("lineart_anime", &["netG", "lineart_anime"], Feed::LARGE_BLOCKS, Reading::SignedPaper),
    recipe(
        "lineart_anime_denoise",
        &["erika", "lineart_anime_denoise"],
        Feed::GREY_LEVELS,
        Reading::PaperLevels,
    ),
    recipe("mlsd", &["mlsd_large_512_fp32", "mlsd"], Feed::SIGNED, Reading::Segments),
    recipe(
        "segmentation",
        &["upernet_global_small", "segmentation"],
        Feed::IMAGENET,
        Reading::Classes(Palette::Ade20k),
    ),
    recipe(
        "oneformer_ade20k",
        &["250_16_swin_l_oneformer_ade20k_160k", "oneformer_ade20k"],
        Feed::LEVELS,
        Reading::Classes(Palette::Ade20k),
    ),
    recipe(
        "oneformer_coco",
        &["150_16_swin_l_oneformer_coco_100ep", "oneformer_coco"],
        Feed::LEVELS,
        Reading::Classes(Palette::OfFile),
    ),
    recipe(
        "anime_face_segment",
        &["UNet", "anime_face_segment"],
        Feed::UNIT,
        Reading::Classes(Palette::AnimeFace),
    ),
    recipe("densepose", DENSEPOSE, Feed::LEVELS, Reading::Parts(&parts::VIRIDIS)),
    recipe("densepose_parula", DENSEPOSE, Feed::LEVELS, Reading::Parts(&parts::PARULA)),
];

/// What makes a map of an RGB picture and the mask of what is repainted.
type Maker = fn(&Pixels, Option<&Pixels>, Settings, &dyn Look) -> Result<Pixels, Fault>;

/// Modules whose maps take more than a network's reading of the picture.
const MAKERS: [(&str, Maker); 7] = [
    ("softedge_anyline", anyline::map),
    ("normal_dsine", dsine::map),
    ("inpaint_only+lama", lama::map),
    ("depth_leres++", |source, _, settings, look| boosted::map(source, settings, look)),
    ("depth_hand_refiner", |source, _, settings, look| hands::map(source, settings, look)),
    ("mediapipe_face", |source, _, settings, look| faces::map(source, settings, look)),
    ("mobile_sam", |source, _, settings, look| {
        masks::map(source, settings, &mut Random::for_request(0), look)
    }),
];

const fn recipe(
    module: &'static str,
    networks: &'static [&'static str],
    feed: Feed,
    reading: Reading,
) -> Recipe {
    Recipe { module, networks, feed, reading }
}

/// A map, and the people or animals that are drawn there as OpenPose writes them.
pub(crate) type Made = (Pixels, Option<Value>);

/// What `module` makes of an RGB picture and the mask of what is repainted; `None` where that takes no network.
pub(crate) fn made(
    module: &str,
    source: &Pixels,
    mask: Option<&Pixels>,
    settings: Settings,
    look: &dyn Look,
) -> Option<Result<Made, Fault>> {
    let posed = |drawn: Result<(Pixels, Value), Fault>| Some(drawn.map(|(map, pose)| (map, Some(pose))));
    if let Some(figure) = pose::figure_of(module) {
        return posed(pose::map(figure, source, settings, look));
    }
    if let Some(subject) = simcc::subject_of(module) {
        return posed(simcc::map(subject, source, settings, look));
    }
    let map = match recipe_of(module) {
        Some(recipe) => map(recipe, source, settings, look),
        None => maker_of(module)?(source, mask, settings, look),
    };
    Some(map.map(|map| (map, None)))
}

/// How a module's map is made, where that takes a network.
fn recipe_of(module: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.module == module)
}

/// How a module's map is made, where that takes a network and more.
fn maker_of(module: &str) -> Option<Maker> {
    MAKERS.iter().find(|(name, _)| *name == module).map(|(_, maker)| *maker)
}

/// The map of an RGB picture, its short side of the settings' resolution.
fn map(recipe: &Recipe, source: &Pixels, settings: Settings, look: &dyn Look) -> Result<Pixels, Fault> {
    let ready = Ready::find(recipe, look)?;
    resolution::at(source, settings.resolution, |picture| ready.map(picture, settings, |_| Vec::new()))
}

/// A recipe whose network is there.
struct Ready<'a> {
    recipe: &'a Recipe,
    network: String,
    /// What its file says of itself.
    about: Option<Value>,
    look: &'a dyn Look,
}

impl<'a> Ready<'a> {
    fn find(recipe: &'a Recipe, look: &'a dyn Look) -> Result<Self, Fault> {
        let network = find(recipe.networks, look)?;
        let about = look.about(&network)?;
        Ok(Self { recipe, network, about, look })
    }

    /// The map of a picture, of its size. `beside` is what goes in behind the picture, by the size (width first) that it
    /// goes in at.
    fn map(
        &self,
        picture: &Pixels,
        settings: Settings,
        beside: impl FnOnce((u32, u32)) -> Vec<Tensor>,
    ) -> Result<Pixels, Fault> {
        let Self { recipe, network, about, look } = self;
        let fed = recipe.feed.sized(picture, about.as_ref()).map_err(unfit)?;
        let numbers = fed.data.len();
        let (width, height) = (fed.width, fed.height);
        if numbers > NUMBERS_MAX {
            return Err(Fault::InvalidInput(format!(
                "resolution: a network is fed {NUMBERS_MAX} numbers at most, and {width} x {height} pixels are \
                 {numbers}; choose a smaller processor_res"
            )));
        }
        let mut inputs = vec![recipe.feed.tensor(&fed)];
        inputs.extend(beside((width, height)));
        let outputs = look.run(network, inputs)?;
        let size = (picture.width, picture.height);
        recipe
            .reading
            .map(&outputs, (width, height), size, settings, about.as_ref())
            .map_err(|problem| unlike(network, &problem))
    }
}

/// The first that is there of the networks of these names.
fn find(networks: &[&str], look: &dyn Look) -> Result<String, Fault> {
    let there = look.networks().map_err(|fault| match fault {
        // What a request asks for is not to be had here, which is no failure of the plugin.
        Fault::NotPermitted(_) => Fault::InvalidInput(
            "it needs a network, and no network may be run here: an admin grants them (`models` of the plugin \
             preprocessors)."
                .into(),
        ),
        other => other,
    })?;
    let found = networks
        .iter()
        .find_map(|wanted| there.iter().find(|name| name.eq_ignore_ascii_case(wanted)).cloned());
    found.ok_or_else(|| {
        Fault::InvalidInput(format!(
            "it needs the network {}.torchscript in the folder networks of the models, which is not there; the plugin's README \
             says how the published weights become one.",
            networks.join(".torchscript or ")
        ))
    })
}

/// A network that is not what a module needs. `problem` ends a sentence about it.
fn unlike(network: &str, problem: &str) -> Fault {
    Fault::InvalidInput(format!("the network {network} {problem}"))
}

/// The same of one that a script of this plugin makes.
fn unlike_made(network: &str, problem: &str) -> Fault {
    unlike(network, &format!("{problem}; export it with the script that the plugin's README names"))
}

#[cfg(test)]
mod tests;
