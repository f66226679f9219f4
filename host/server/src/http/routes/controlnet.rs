//! ControlNet's own routes: what modules and models there are, and the map that a module makes. Modules are those of the
//! plugins that are active at the moment.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::control::names_reference;
use gesso_picture::convert::flatten;
use gesso_plugin_host::{Annotated, Annotator, Slider};
use rand::RngExt;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::annotators::{self, NONE};
use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::{CatalogueError, Kind, Part};
use crate::error::AppError;
use crate::http::error::WebUiFailure;
use crate::http::extract::{WebUiObject, WebUiParameters};
use crate::http::routes::controlnet_pose::PoseCanvas;
use crate::http::wire::control::UNITS_MAX;
use crate::http::wire::detect::{ARGUMENTS, Detect, MODULE};
use crate::http::wire::query::{FromQuery, Said};
use crate::http::wire::schema::DetectBody;
use crate::inputs;
use crate::plugin_use;
use crate::png_file;
use crate::sources::{BACKGROUND, picture};

/// The version whose API this is.
const VERSION: u32 = 3;
/// Of what an annotator found, the people of the picture as OpenPose writes them, and its animals.
const POSE: &str = "pose";
/// What a unit without a model is told.
const NO_MODEL: &str = "None";

/// Kinds of control, with what else their models are called, and the module that is offered first.
const TYPES: [(&str, &[&str], &str); 21] = [
    ("All", &[], NONE),
    ("Canny", &[], "canny"),
    ("Depth", &[], "depth_midas"),
    ("IP-Adapter", &["ip_adapter", "ipadapter"], "ip-adapter-auto"),
    ("Inpaint", &[], "inpaint_only"),
    ("Instant-ID", &["instant_id"], "instant_id_face_keypoints"),
    ("InstructP2P", &["ip2p"], NONE),
    ("Lineart", &[], "lineart_standard (from white bg & black line)"),
    ("MLSD", &[], "mlsd"),
    ("NormalMap", &["normal"], "normal_bae"),
    ("OpenPose", &["densepose"], "openpose_full"),
    ("Recolor", &[], "recolor_luminance"),
    ("Reference", &[], "reference_only"),
    ("Revision", &[], "revision_clipvision"),
    ("Scribble", &["sketch"], "scribble_pidinet"),
    ("Segmentation", &["seg"], "seg_ofade20k"),
    ("Shuffle", &[], "shuffle"),
    ("SoftEdge", &["hed"], "softedge_pidinet"),
    ("SparseCtrl", &[], "scribble_pidinet"),
    ("T2I-Adapter", &["t2i_adapter", "t2iadapter", "t2ia"], "t2ia_style_clipvision"),
    ("Tile", &["blur"], "tile_resample"),
];

/// The version of ControlNet's API.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ControlVersion {
    /// Always 3.
    version: u32,
}

/// The version of this API.
#[utoipa::path(get, path = "/controlnet/version", tag = "ControlNet",
    responses((status = 200, description = "The version", body = ControlVersion)))]
pub(crate) async fn version() -> Json<ControlVersion> {
    Json(ControlVersion { version: VERSION })
}

/// What ControlNet's user interface is set up by.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ControlSettings {
    /// Units that a request may have.
    control_net_unit_count: usize,
    /// The same, by the name that older versions gave it.
    control_net_max_models_num: usize,
}

/// How many units a request may have.
#[utoipa::path(get, path = "/controlnet/settings", tag = "ControlNet",
    responses((status = 200, description = "How many", body = ControlSettings)))]
pub(crate) async fn settings() -> Json<ControlSettings> {
    Json(ControlSettings { control_net_unit_count: UNITS_MAX, control_net_max_models_num: UNITS_MAX })
}

/// Control networks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ControlModels {
    /// Names with the hash that web UIs show, by name: `control_canny [0123abcd]`.
    model_list: Vec<String>,
}

/// The control networks in the models folder. They are looked up at each call.
#[utoipa::path(get, path = "/controlnet/model_list", tag = "ControlNet",
    responses((status = 200, description = "All of them", body = ControlModels)))]
pub(crate) async fn model_list(State(app): State<Arc<App>>) -> Result<Json<ControlModels>, WebUiFailure> {
    Ok(Json(ControlModels { model_list: models(&app).await? }))
}

#[derive(Debug)]
pub(crate) struct Names {
    /// Labels in place of names.
    alias_names: bool,
}

impl FromQuery for Names {
    fn read(said: &mut Said) -> Self {
        Self { alias_names: said.flag("alias_names") }
    }
}

/// What makes maps of pictures.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ControlModules {
    /// What `module` of a unit names them by; `none` first.
    module_list: Vec<String>,
    /// The same, with what can be set.
    #[schema(value_type = BTreeMap<String, ControlModule>)]
    module_detail: Map<String, Value>,
}

/// A module.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ControlModule {
    /// Whether it works without a model; maps are for models.
    model_free: bool,
    /// In the order of `processor_res`, `threshold_a` and `threshold_b`; empty where there is nothing to set.
    sliders: Vec<ControlSlider>,
}

/// A number that a unit may set. Whole numbers are sent as such.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ControlSlider {
    /// What people see.
    name: String,
    /// The value where a unit says none, or one that is out of range.
    #[schema(value_type = f64)]
    value: Value,
    /// The least value.
    #[schema(value_type = f64)]
    min: Value,
    /// The greatest value.
    #[schema(value_type = f64)]
    max: Value,
    /// Between two values.
    #[schema(value_type = f64)]
    step: Value,
}

/// What makes maps of pictures, and with which sliders.
#[utoipa::path(get, path = "/controlnet/module_list", tag = "ControlNet",
    params(("alias_names" = Option<bool>, Query, description = "Labels in place of names")),
    responses((status = 200, description = "The engine's own and those of active plugins", body = ControlModules),
              (status = 422, description = "alias_names is no boolean")))]
pub(crate) async fn module_list(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiParameters(Names { alias_names }): WebUiParameters<Names>,
) -> Json<ControlModules> {
    let annotators = annotators::all(&app, &plugin_use::whom(&caller));
    let name =
        |annotator: &Annotator| if alias_names { annotator.label() } else { &annotator.name }.to_owned();
    let mut details = Map::new();
    details.insert(NONE.into(), json!(ControlModule { model_free: false, sliders: Vec::new() }));
    for annotator in &annotators {
        let model_free = names_reference(&annotator.name);
        let module = ControlModule { model_free, sliders: sliders(annotator) };
        details.insert(name(annotator), json!(module));
    }
    Json(ControlModules { module_list: details.keys().cloned().collect(), module_detail: details })
}

/// As web UIs show them: the resolution first, then the module's own; the list is empty where there is nothing to set.
fn sliders(annotator: &Annotator) -> Vec<ControlSlider> {
    let resolution = ControlSlider {
        name: "Resolution".into(),
        value: annotator.default_resolution.into(),
        min: Annotator::RESOLUTION_MIN.into(),
        max: Annotator::RESOLUTION_MAX.into(),
        step: 8.into(),
    };
    let own = annotator.sliders.iter().map(|Slider { name, value, min, max, step }| ControlSlider {
        name: name.clone(),
        value: (*value).into(),
        min: (*min).into(),
        max: (*max).into(),
        step: (*step).into(),
    });
    annotator.resolution.then_some(resolution).into_iter().chain(own).collect()
}

/// What ControlNet's user interface offers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ControlTypes {
    /// By kind of control; `All` first.
    #[schema(value_type = BTreeMap<String, ControlType>)]
    control_types: Map<String, Value>,
}

/// What goes with a kind of control.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ControlType {
    /// Labels of modules; `none` first.
    module_list: Vec<String>,
    /// As in `model_list`; `None` first.
    model_list: Vec<String>,
    /// The module that is offered first.
    default_option: String,
    /// The model that is offered first.
    default_model: String,
}

/// Modules and models by kind of control, and what a user is offered first.
#[utoipa::path(get, path = "/controlnet/control_types", tag = "ControlNet",
    responses((status = 200, description = "All kinds", body = ControlTypes)))]
pub(crate) async fn control_types(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<ControlTypes>, WebUiFailure> {
    let annotators = annotators::all(&app, &plugin_use::whom(&caller));
    let models = models(&app).await?;
    let types =
        TYPES.iter().map(|entry| (entry.0.to_owned(), json!(control_type(entry, &annotators, &models))));
    Ok(Json(ControlTypes { control_types: types.collect() }))
}

fn control_type(
    (tag, aliases, first): &(&str, &[&str], &str),
    annotators: &[Annotator],
    models: &[String],
) -> ControlType {
    let is_all = *tag == "All";
    let is_of =
        |annotator: &&Annotator| is_all || annotator.types.iter().any(|kind| kind.eq_ignore_ascii_case(tag));
    let mut modules: Vec<&str> = annotators.iter().filter(is_of).map(Annotator::label).collect();
    modules.sort_by(|a, b| b.cmp(a));
    // Web UIs have what they offer first at the head, behind none.
    if let Some(place) = modules.iter().position(|module| module == first) {
        modules[..=place].rotate_right(1);
    }
    modules.insert(0, NONE);
    let words: Vec<String> = std::iter::once(tag).chain(*aliases).map(|word| word.to_lowercase()).collect();
    let fits = |model: &&String| is_all || words.iter().any(|word| model.to_lowercase().contains(word));
    let mut fitting: Vec<&str> = vec![NO_MODEL];
    fitting.extend(models.iter().filter(fits).map(String::as_str));
    let module = modules.get(1).filter(|_| *first != NONE);
    // Version 1.1 of the published networks is the better one.
    let newest = fitting.iter().skip(1).find(|model| without_hash(model).contains("11"));
    let model = newest.or(fitting.get(1).filter(|_| !is_all)).filter(|_| !is_all);
    ControlType {
        default_option: (*module.unwrap_or(&NONE)).to_owned(),
        default_model: (*model.unwrap_or(&NO_MODEL)).to_owned(),
        module_list: modules.into_iter().map(str::to_owned).collect(),
        model_list: fitting.into_iter().map(str::to_owned).collect(),
    }
}

/// The name alone of a model that is shown with its hash, whose digits mean nothing.
fn without_hash(title: &str) -> &str {
    title.rsplit_once(" [").map_or(title, |(name, _)| name)
}

/// Names with the hash that web UIs show for control networks, by name.
async fn models(app: &App) -> Result<Vec<String>, AppError> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: folders and files.
    let models = blocking(move || {
        let files = catalogue.files(Kind::Control)?;
        let titled = files.iter().map(|found| match catalogue.sha256(&found.path, Part::Middle) {
            Some(hash) => format!("{} [{}]", found.stem, &hash[..8]),
            None => found.stem.clone(),
        });
        Ok::<_, CatalogueError>(titled.collect::<Vec<_>>())
    });
    Ok(models.await??)
}

/// The maps of pictures.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DetectedMaps {
    /// PNG files in base64, one for each picture, in their order.
    images: Vec<String>,
    /// Always `Success`.
    info: &'static str,
    /// The people and animals of the pictures, in their order, as OpenPose writes them; missing where the module finds none.
    /// What `/controlnet/render_openpose_json` draws.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<PoseCanvas>)]
    poses: Vec<Value>,
}

/// The maps that a module makes of pictures; nothing is drawn or stored.
#[utoipa::path(post, path = "/controlnet/detect", tag = "ControlNet", request_body = DetectBody,
    responses((status = 200, description = "The maps", body = DetectedMaps),
              (status = 422, description = "The module is not here, or something is wrong with the pictures"),
              (status = 429, description = "The plugins have enough to do")))]
pub(crate) async fn detect(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(mut body): WebUiObject,
) -> Result<Json<DetectedMaps>, WebUiFailure> {
    inputs::bring_own(&app, &caller, &mut body).await?;
    let Detect { module, images, masks, settings } =
        Detect::read(&body, app.limits.max_images).map_err(AppError::Invalid)?;
    let call = plugin_use::call_of_request(plugin_use::whom(&caller), rand::rng().random());
    let annotator = annotators::find(&app, &call.whom, MODULE, &module)?;
    let limits = app.source_limits().decode;
    let (mut maps, mut poses) = (Vec::with_capacity(images.len()), Vec::new());
    for (index, image) in images.into_iter().enumerate() {
        let mask = masks.get(index).cloned();
        // The blocking pool: codecs.
        let decoded = blocking(move || {
            let source = picture("controlnet_input_images", &image, limits)?.ok_or_else(|| {
                AppError::invalid("controlnet_input_images", format!("picture {index} is empty"))
            })?;
            let source = flatten(&source, BACKGROUND)
                .map_err(|error| AppError::invalid("controlnet_input_images", error.to_string()))?;
            let mask = mask.map(|mask| picture("controlnet_masks", &mask, limits)).transpose()?.flatten();
            Ok::<_, AppError>((source, mask))
        });
        let (source, mask) = decoded.await??;
        let Annotated { picture: map, data } = match &annotator {
            None => Annotated { picture: source, data: None },
            Some(annotator) => {
                annotators::annotate(&app, &call, &ARGUMENTS, annotator, &settings, (source, mask)).await?
            }
        };
        poses.extend(data.and_then(|mut data| data.remove(POSE)));
        // The blocking pool: compression.
        let file = blocking(move || {
            let file = png_file::encode_with(&annotators::split(map).0, &[]);
            file.map(|file| BASE64_STANDARD.encode(file))
        });
        let file = file.await?;
        maps.push(file.map_err(|error| AppError::Internal(format!("the map cannot be written: {error}")))?);
    }
    Ok(Json(DetectedMaps { images: maps, info: "Success", poses }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotator(name: &str, types: &[&str]) -> Annotator {
        serde_json::from_value(json!({"name": name, "types": types})).unwrap()
    }

    #[test]
    fn kinds_offer_their_modules_and_models_the_preferred_first() {
        let annotators = [annotator("canny", &["Canny"]), annotator("invert", &["Canny", "Lineart"])];
        let models = ["a_canny [1100aa11]", "control_v11p_sd15_canny [2]", "depth [3]"].map(str::to_owned);
        let of = |tag: &str| {
            let entry = TYPES.iter().find(|entry| entry.0 == tag).unwrap();
            json!(control_type(entry, &annotators, &models))
        };
        assert_eq!(
            of("Canny"),
            json!({"module_list": ["none", "canny", "invert"],
                   "model_list": ["None", "a_canny [1100aa11]", "control_v11p_sd15_canny [2]"],
                   "default_option": "canny", "default_model": "control_v11p_sd15_canny [2]"})
        );
        assert_eq!(
            (&of("Lineart")["default_option"], &of("Depth")["default_option"]),
            (&json!("invert"), &json!("none"))
        );
        assert_eq!(of("Depth")["model_list"], json!(["None", "depth [3]"]));
        assert_eq!(
            (&of("All")["default_option"], &of("All")["default_model"]),
            (&json!("none"), &json!("None"))
        );
        assert_eq!(of("All")["module_list"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn the_resolution_stands_before_the_modules_own_sliders() {
        let slider = json!({"name": "Low", "value": 1.0, "min": 0.0, "max": 2.0, "step": 1.0});
        let mut module: Annotator =
            serde_json::from_value(json!({"name": "a", "sliders": [slider]})).unwrap();
        assert_eq!(sliders(&module).len(), 2);
        assert_eq!(json!(sliders(&module)[1]), slider);
        assert_eq!(json!(sliders(&module)[0])["value"], 512);
        module.default_resolution = 1280;
        assert_eq!(json!(sliders(&module)[0])["value"], 1280);
        module.resolution = false;
        assert_eq!(json!(sliders(&module)), json!([slider]));
    }
}
