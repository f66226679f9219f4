//! Names in a request become files: LoRAs and hypernetworks in prompts, the VAE, textual inversions, upscalers, the
//! second pass's checkpoint, the refiner. What is optional and missing becomes a warning; what the request stands on is an
//! error.

mod inversions;

use std::sync::Arc;

use gesso_core::hires::{Hires, HiresUpscaler, UpscaleTiles};
use gesso_core::prompt::{BlockWeights, ExtraNetwork, Lora, Network};
use gesso_core::refiner::PassPlace;
use gesso_core::request::{GenerateRequest, VaeChoice};
use gesso_engine::backend::{ModelFile, PixelUpscaler, Upscale, UpscaleBy};
use gesso_engine::{LoraUse, RefinerUse, Resources, SecondPass};
use gesso_torch::Upscaler;

use crate::catalogue::{Catalogue, CatalogueError, Checkpoint, Found as FoundFile, Kind, Part};
use crate::error::AppError;

/// Digits of a LoRA's hash in infotexts.
const LORA_HASH_DIGITS: usize = 12;
/// Digits of a VAE's.
const VAE_HASH_DIGITS: usize = 10;

/// Everything a request's names stand for.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) first: Resources,
    /// What goes on with the pictures of the first pass.
    pub(crate) refiner: Option<RefinerUse>,
    pub(crate) second: Option<SecondPass>,
    /// The file name of the checkpoint that the second pass is drawn with, where that is another.
    pub(crate) second_file_name: Option<String>,
    /// `name [hash]` of the checkpoint that goes on in either pass.
    pub(crate) refiner_title: Option<String>,
    /// `name: hash` of each LoRA in use, for the infotext.
    pub(crate) lora_hashes: Vec<(String, String)>,
    /// The same of each textual inversion.
    pub(crate) inversion_hashes: Vec<(String, String)>,
    /// The VAE that replaces the checkpoint's own.
    pub(crate) vae: Option<Arc<ModelFile>>,
    pub(crate) vae_hash: Option<String>,
    /// Remarks for the client.
    pub(crate) warnings: Vec<String>,
}

/// Looks everything up. Reads folders and hashes files: call it where blocking is allowed.
pub(crate) fn find(
    catalogue: &Catalogue,
    request: &GenerateRequest,
    checkpoint: &Checkpoint,
) -> Result<Found, AppError> {
    let (lora_hashes, warnings) = (Vec::new(), Vec::new());
    let mut finder = Finder { catalogue, request, lora_files: None, lora_hashes, warnings };
    let vae = finder.vae(&checkpoint.file)?;
    let embeddings = finder.embeddings()?;
    // A pass that is not drawn uses nothing that its prompt names, and nobody goes on with its pictures.
    let draws_first = request.draws_first_pass();
    let prompt = if draws_first { request.prompt.as_str() } else { "" };
    let first = finder.resources(prompt, vae.clone(), embeddings.clone());
    let other = hires_checkpoint(catalogue, request)?;
    let drawn_with = other.as_ref().unwrap_or(checkpoint);
    let second =
        request.hires.as_ref().map(|hires| finder.second(hires, drawn_with, vae.clone(), embeddings));
    let mut second = second.transpose()?;
    let refining = refiner(catalogue, request)?;
    let place = if second.is_some() { PassPlace::FirstOfTwo } else { PassPlace::Only };
    let refining_first = refining.as_ref().filter(|_| draws_first);
    let refiner = finder.refined(refining_first, place, &checkpoint.file, &first)?;
    if let Some(second) = &mut second {
        let SecondPass { model, resources, .. } = &*second;
        second.refiner = finder.refined(refining.as_ref(), PassPlace::SecondOfTwo, model, resources)?;
    }
    let acts = refiner.is_some() || second.as_ref().is_some_and(|second| second.refiner.is_some());
    let refiner_title = refining.filter(|_| acts).map(|refining| refining.short_title());
    let width = catalogue.facts(&checkpoint.file).map(|facts| facts.text_width);
    let inversion_hashes = inversions::used(&first.embeddings, width, request);
    let Finder { lora_hashes, warnings, .. } = finder;
    let vae_hash = vae.as_ref().and_then(|vae| catalogue.sha256(&vae.path, Part::Whole));
    let vae_hash = vae_hash.map(|hash| hash[..VAE_HASH_DIGITS].to_owned());
    Ok(Found {
        first,
        refiner,
        second,
        second_file_name: other.map(|other| other.file_name),
        refiner_title,
        lora_hashes,
        inversion_hashes,
        vae,
        vae_hash,
        warnings,
    })
}

/// The checkpoint that a request's pictures begin in.
pub(crate) fn checkpoint(catalogue: &Catalogue, request: &GenerateRequest) -> Result<Checkpoint, AppError> {
    let name = request.model.as_deref();
    // Where neither pass is drawn with it, it only lends its name.
    let has_other = request.hires.as_ref().is_some_and(|hires| hires.model.is_some());
    let is_drawn_with = request.draws_first_pass() || !has_other;
    let found = if is_drawn_with { catalogue.drawable(name) } else { catalogue.checkpoint(name) };
    found.map_err(|error| match error {
        CatalogueError::Unusable { .. } if name.is_some() => {
            AppError::unusable_model("override_settings", error.to_string())
        }
        error => error.into(),
    })
}

/// The checkpoint of a request's refiner.
pub(crate) fn refiner(
    catalogue: &Catalogue,
    request: &GenerateRequest,
) -> Result<Option<Checkpoint>, AppError> {
    let name = request.refiner.as_ref().map(|refiner| &refiner.model);
    name.map(|name| other_checkpoint(catalogue, "refiner_checkpoint", name)).transpose()
}

/// The checkpoint of a request's second pass, where it names one.
pub(crate) fn hires_checkpoint(
    catalogue: &Catalogue,
    request: &GenerateRequest,
) -> Result<Option<Checkpoint>, AppError> {
    let name = request.hires.as_ref().and_then(|hires| hires.model.as_ref());
    name.map(|name| other_checkpoint(catalogue, "hr_checkpoint_name", name)).transpose()
}

/// A checkpoint beside the request's own, which a field of its own names.
fn other_checkpoint(catalogue: &Catalogue, field: &str, name: &str) -> Result<Checkpoint, AppError> {
    catalogue.drawable(Some(name)).map_err(|error| {
        let message = format!("{field}: {error}");
        match error {
            CatalogueError::Unusable { .. } => AppError::unusable_model(field, message),
            _ => AppError::invalid(field, message),
        }
    })
}

/// Upscalers that are no files, in the order of their list.
pub(crate) const FILTERS: [&str; 3] = ["None", "Lanczos", "Nearest"];

/// The name of the upscaler at a place of the list that clients are told, from 0, as their scripts say it. What is no number is a
/// name already, and so is a number that a file is called.
pub(crate) fn counted_upscaler(catalogue: &Catalogue, given: &str) -> Result<String, CatalogueError> {
    let Ok(place) = given.trim().parse::<usize>() else { return Ok(given.to_owned()) };
    let networks = catalogue.files(Kind::Upscaler)?;
    if networks.iter().any(|found| found.stem == given) {
        return Ok(given.to_owned());
    }
    let usable = networks.iter().filter(|found| Upscaler::scale_of(&found.path).is_ok());
    let mut names = FILTERS.into_iter().chain(usable.map(|found| found.stem.as_str()));
    Ok(names.nth(place).unwrap_or(given).to_owned())
}

/// What enlarges pictures under this name: a filter, or a network among the files.
pub(crate) fn upscaler(
    catalogue: &Catalogue,
    name: &str,
    tiles: UpscaleTiles,
) -> Result<PixelUpscaler, CatalogueError> {
    Ok(match name {
        "Nearest" => PixelUpscaler::Nearest,
        "None" | "Lanczos" => PixelUpscaler::Lanczos,
        network => PixelUpscaler::Network {
            file: enlarging_network(catalogue, network)?,
            tile: tiles.side(),
            overlap: tiles.overlap(),
        },
    })
}

/// The names that web UIs give published networks, and those of the files they are published as.
const PUBLISHED: [(&str, &str); 6] = [
    ("R-ESRGAN 4x+", "RealESRGAN_x4plus"),
    ("R-ESRGAN 4x+ Anime6B", "RealESRGAN_x4plus_anime_6B"),
    ("R-ESRGAN 2x+", "RealESRGAN_x2plus"),
    ("R-ESRGAN General 4xV3", "realesr-general-x4v3"),
    ("R-ESRGAN General WDN 4xV3", "realesr-general-wdn-x4v3"),
    ("R-ESRGAN AnimeVideo", "realesr-animevideov3"),
];

/// The file that a client names, or that of the published network of this name.
fn enlarging_network(catalogue: &Catalogue, name: &str) -> Result<Arc<ModelFile>, CatalogueError> {
    catalogue.find(Kind::Upscaler, name).or_else(|error| {
        let published = PUBLISHED.iter().find(|(label, _)| label.eq_ignore_ascii_case(name));
        let found = published.and_then(|(_, file)| catalogue.find(Kind::Upscaler, file).ok());
        found.ok_or(error)
    })
}

impl Found {
    /// Steers refiners as the passes that they go on with are steered.
    pub(crate) fn steer_refiners(&mut self) {
        let second = self.second.iter_mut().map(|second| (&second.resources, &mut second.refiner));
        for (resources, refiner) in second.chain([(&self.first, &mut self.refiner)]) {
            if let Some(refiner) = refiner {
                refiner.resources.control.clone_from(&resources.control);
                refiner.resources.references.clone_from(&resources.references);
            }
        }
    }
}

struct Finder<'a> {
    catalogue: &'a Catalogue,
    request: &'a GenerateRequest,
    /// What is there, listed once: a prompt may name a thousand.
    lora_files: Option<Vec<FoundFile>>,
    lora_hashes: Vec<(String, String)>,
    warnings: Vec<String>,
}

impl Finder<'_> {
    fn vae(&self, checkpoint: &ModelFile) -> Result<Option<Arc<ModelFile>>, AppError> {
        Ok(match &self.request.vae {
            VaeChoice::Own => None,
            VaeChoice::Automatic => self.catalogue.vae_of(checkpoint)?,
            VaeChoice::Named(name) => {
                // One that lies beside its checkpoint is among no list, yet infotexts and web UIs' settings name it.
                let is_named = |vae: &Arc<ModelFile>| {
                    vae.name == *name || vae.path.file_name().is_some_and(|file| file == name.as_str())
                };
                let beside = self.catalogue.vae_beside(checkpoint)?.filter(is_named);
                let found = || {
                    self.catalogue
                        .find(Kind::Vae, name)
                        .map_err(|error| AppError::invalid("override_settings", format!("sd_vae: {error}")))
                };
                Some(beside.map_or_else(found, Ok)?)
            }
        })
    }

    fn embeddings(&self) -> Result<Arc<Vec<Arc<ModelFile>>>, AppError> {
        Ok(Arc::new(self.catalogue.embeddings()?))
    }

    /// The networks that a prompt names, and what every pass has.
    fn resources(
        &mut self,
        prompt: &str,
        vae: Option<Arc<ModelFile>>,
        embeddings: Arc<Vec<Arc<ModelFile>>>,
    ) -> Resources {
        let mut resources = Resources { vae, embeddings, ..Resources::default() };
        if !self.request.extra_networks {
            return resources;
        }
        let (_, networks) = self.request.split(prompt);
        for network in &networks {
            self.network(network, &mut resources);
        }
        resources
    }

    fn network(&mut self, tag: &ExtraNetwork, resources: &mut Resources) {
        match tag.read() {
            Err(error) => self.warn(error.to_string()),
            Ok(Network::Hypernetwork { name, strength }) => {
                match self.catalogue.find(Kind::Hypernetwork, &name) {
                    Ok(file) => resources.hypernetworks.push((file, strength)),
                    Err(error) => self.warn(format!("Hypernetwork not found: {error}")),
                }
            }
            Ok(Network::Lora(lora)) => match self.lora_file(&lora.name) {
                Ok(file) => {
                    if let Some(lora_use) = self.lora(&lora, file) {
                        resources.loras.push(lora_use);
                    }
                }
                Err(error) => self.warn(format!("Lora not found: {error}")),
            },
        }
    }

    fn lora_file(&mut self, name: &str) -> Result<Arc<ModelFile>, CatalogueError> {
        let files = match self.lora_files.take() {
            Some(files) => files,
            None => self.catalogue.files(Kind::Lora)?,
        };
        let found = self.catalogue.find_among(Kind::Lora, &files, name);
        self.lora_files = Some(files);
        found
    }

    fn lora(&mut self, lora: &Lora, file: Arc<ModelFile>) -> Option<LoraUse> {
        let blocks = match &lora.block_weights {
            None => None,
            Some(BlockWeights::Numbers(numbers)) => {
                if let Err(error) = gesso_torch::lora::BlockWeights::new(numbers) {
                    self.warn(format!("Lora {:?}: lbw: {error}", lora.name));
                    return None;
                }
                Some(numbers.clone())
            }
            Some(BlockWeights::Preset(name)) => match gesso_torch::lora::BlockWeights::preset(name) {
                Some(weights) => Some(weights.numbers().to_vec()),
                None => {
                    self.warn(format!("Lora {:?}: lbw={name} is no known list of block weights", lora.name));
                    return None;
                }
            },
        };
        if let Some(hash) = self.catalogue.sha256(&file.path, Part::Tensors)
            && self.lora_hashes.iter().all(|(name, _)| *name != file.name)
        {
            self.lora_hashes.push((file.name.clone(), hash[..LORA_HASH_DIGITS].to_owned()));
        }
        Some(LoraUse {
            file,
            text: lora.text_encoder_weight,
            unet: lora.unet_weight,
            rank: lora.rank,
            blocks,
            // Steps count from 1 in prompts.
            start_step: lora.start_step.map_or(0, |step| step.saturating_sub(1)),
            stop_step: lora.stop_step.map(|step| step.saturating_sub(1)),
        })
    }

    fn second(
        &mut self,
        hires: &Hires,
        checkpoint: &Checkpoint,
        vae: Option<Arc<ModelFile>>,
        embeddings: Arc<Vec<Arc<ModelFile>>>,
    ) -> Result<SecondPass, AppError> {
        let target = hires.size.target(self.request.width, self.request.height);
        let by = match &hires.upscaler {
            HiresUpscaler::Latent(mode) => UpscaleBy::Latent(*mode),
            HiresUpscaler::Pixels(name) => UpscaleBy::Pixels(
                upscaler(self.catalogue, name, self.request.upscale_tiles)
                    .map_err(|error| AppError::invalid("hr_upscaler", error.to_string()))?,
            ),
        };
        let model = checkpoint.file.clone();
        let vae = if hires.model.is_some() { self.vae(&model)? } else { vae };
        let prompt = hires.prompt.as_deref().unwrap_or(&self.request.prompt);
        let resources = self.resources(prompt, vae, embeddings);
        let upscale = Upscale { target, by };
        Ok(SecondPass { model, resources, refiner: None, upscale, picture: None, share: None })
    }

    /// What goes on with the pictures of a pass on `model`, which uses `resources`; a checkpoint does not go on with its own.
    fn refined(
        &self,
        refining: Option<&Checkpoint>,
        place: PassPlace,
        model: &ModelFile,
        resources: &Resources,
    ) -> Result<Option<RefinerUse>, AppError> {
        let acts = self.request.refiner.as_ref().is_some_and(|refiner| refiner.acts_in(place));
        let Some(refining) = refining.filter(|refining| acts && *refining.file != *model) else {
            return Ok(None);
        };
        let model = refining.file.clone();
        let resources = Resources { vae: self.vae(&model)?, ..resources.clone() };
        Ok(Some(RefinerUse { model, resources }))
    }

    fn warn(&mut self, text: String) {
        // A prompt that is read for two passes says a thing once.
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upscalers_answer_to_the_names_that_web_uis_give_them_unless_a_file_has_that_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("RealESRGAN")).unwrap();
        let write = |name: &str| {
            std::fs::write(folder.path().join(format!("RealESRGAN/{name}.pth")), b"").unwrap();
        };
        write("RealESRGAN_x4plus");
        write("RealESRGAN_x4plus_anime_6B");
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        let file = |name| match upscaler(&catalogue, name, UpscaleTiles::default()) {
            Ok(PixelUpscaler::Network { file, .. }) => Ok(file.name.clone()),
            Ok(other) => panic!("{name} is {other:?}"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(file("R-ESRGAN 4x+").unwrap(), "RealESRGAN_x4plus");
        assert_eq!(file("r-esrgan 4x+ anime6b").unwrap(), "RealESRGAN_x4plus_anime_6B");
        assert!(file("R-ESRGAN 2x+").unwrap_err().contains("R-ESRGAN 2x+"));
        write("R-ESRGAN 4x+");
        assert_eq!(file("R-ESRGAN 4x+").unwrap(), "R-ESRGAN 4x+");
    }
}
