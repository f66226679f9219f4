//! The models in memory: checkpoints, what is laid over them (VAE, LoRAs), and the small files that act beside them.
//! Everything is shared: a variant holds only the tensors it changes. Knows no prompt and no sampler.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use gesso_engine::backend::{BackendError, ModelFile, Residency};
use gesso_engine::{LoraUse, Resources};
use tch::{Device, Kind, TchError, Tensor};

use crate::checkpoint::Checkpoint;
use crate::compute::Compute;
use crate::control::ControlModel;
use crate::embedding::Embedding;
use crate::failure::{device_error, load_error, of_vae, vae_error};
use crate::file_version::{OfFile, check_version};
use crate::host_model::HostModel;
use crate::hypernetwork::{Hypernetwork, HypernetworkError};
use crate::lora::{self, BlockWeights, LoraFile};
use crate::lru::{Idle, Lru, Uses};
use crate::model_cache::{ModelCache, Spare, VariantKey};
use crate::models::unet::context::ContextMap;
use crate::networks::Networks;
use crate::restore::{FaceDetector, FaceParser, Restorer};
use crate::tensors::Tensors;
use crate::torchscript::ScriptedNetwork;
use crate::upscale::{ChannelOrder, PictureError, Upscaler};

/// VAE files kept; 335 MB each.
const VAES_KEPT: usize = 2;
/// LoRAs kept; 10 to 200 MB each.
const LORAS_KEPT: usize = 4;
/// Textual inversions kept, of which each is some KB.
const EMBEDDINGS_KEPT: usize = 256;
const HYPERNETWORKS_KEPT: usize = 2;
/// Control networks kept beside those that pictures in flight hold; 0.7 to 1.4 GB each.
const CONTROLS_KEPT: usize = 3;
/// Upscaling networks kept; 67 MB each.
const UPSCALERS_KEPT: usize = 2;
/// TorchScript networks kept, some MB to some hundred: a plugin uses one or two.
const SCRIPTED_KEPT: usize = 4;
/// Face restorers kept, 350 MB each: a request may name both kinds.
const RESTORERS_KEPT: usize = 2;

/// What models in memory may take: checkpoints with what is laid over them, and the networks and files beside them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// In the machine's memory.
    pub(crate) models: usize,
    pub(crate) host_bytes: u64,
    /// Of a device that has a memory of its own.
    pub(crate) device_bytes: u64,
}

/// The file of a control network; of one that is made of a file of differences, its checkpoint too.
type ControlKey = (Arc<ModelFile>, Option<Arc<ModelFile>>);

/// The caches. One for a device.
pub(crate) struct Resident {
    models: ModelCache<Networks>,
    /// Where the device has a memory of its own: what waits to be copied there.
    hosts: Option<ModelCache<HostModel>>,
    vaes: Lru<Arc<ModelFile>, Rc<Tensors>>,
    loras: Lru<Arc<ModelFile>, Rc<LoraFile>>,
    /// What LoRAs bring along, which must not cost reading them again.
    bundled: Lru<Arc<ModelFile>, Rc<Vec<Rc<Embedding>>>>,
    /// `None` for a file that is none, so that it is not read again for every prompt.
    embeddings: Lru<Arc<ModelFile>, Option<Rc<Embedding>>>,
    hypernetworks: Lru<Arc<ModelFile>, Rc<Hypernetwork>>,
    controls: Lru<ControlKey, Rc<ControlModel>>,
    upscalers: Lru<Arc<ModelFile>, Rc<Upscaler>>,
    restorers: Lru<Arc<ModelFile>, Rc<Restorer>>,
    /// There is one of each; 110 and 85 MB.
    detector: Lru<Arc<ModelFile>, Rc<FaceDetector>>,
    parser: Lru<Arc<ModelFile>, Rc<FaceParser>>,
    scripted: Lru<Arc<ModelFile>, Rc<ScriptedNetwork>>,
    compute: Compute,
}

impl Resident {
    /// Networks that compute as `compute` says. On a device of its own memory, checkpoints wait in the machine's.
    pub(crate) fn new(bounds: Bounds, compute: Compute) -> Self {
        if compute.device == Device::Cpu {
            let models = ModelCache::new(bounds.models, bounds.host_bytes);
            return Self::with_caches(models, None, compute, &Uses::default());
        }
        Self::in_two_tiers(bounds, compute)
    }

    pub(crate) fn in_two_tiers(bounds: Bounds, compute: Compute) -> Self {
        let uses = Uses::default();
        let hosts = ModelCache::new(bounds.models, bounds.host_bytes);
        let models = ModelCache::on_device(bounds.device_bytes, &uses);
        Self::with_caches(models, Some(hosts), compute, &uses)
    }

    fn with_caches(
        models: ModelCache<Networks>,
        hosts: Option<ModelCache<HostModel>>,
        compute: Compute,
        uses: &Uses,
    ) -> Self {
        Self {
            models,
            hosts,
            vaes: Lru::new(VAES_KEPT),
            loras: Lru::new(LORAS_KEPT),
            bundled: Lru::new(EMBEDDINGS_KEPT),
            embeddings: Lru::new(EMBEDDINGS_KEPT),
            hypernetworks: Lru::among(HYPERNETWORKS_KEPT, uses),
            controls: Lru::among(CONTROLS_KEPT, uses),
            upscalers: Lru::among(UPSCALERS_KEPT, uses),
            restorers: Lru::among(RESTORERS_KEPT, uses),
            detector: Lru::among(1, uses),
            parser: Lru::among(1, uses),
            scripted: Lru::among(SCRIPTED_KEPT, uses),
            compute,
        }
    }

    pub(crate) fn compute(&self) -> Compute {
        self.compute
    }

    pub(crate) fn checkpoint(&mut self, model: &Arc<ModelFile>) -> Result<Rc<Networks>, BackendError> {
        if let Some(networks) = self.models.checkpoint(model) {
            return Ok(networks);
        }
        let begin = std::time::Instant::now();
        let waiting = self.hosts.as_mut().and_then(|hosts| hosts.checkpoint(model));
        let was_read = waiting.is_none();
        let host = match waiting {
            Some(host) => host,
            None => self.read(model)?,
        };
        let beside = self.make_room(host.tensors.bytes());
        let networks = host.networks(self.compute, self.hosts.is_some(), &beside);
        let networks = Rc::new(networks.map_err(|problem| load_error(problem.of(&model.path)))?);
        self.models.insert_checkpoint(model.clone(), networks.clone());
        let millis = begin.elapsed().as_millis() as u64;
        tracing::info!(model = model.name, millis, was_read, "loaded model");
        Ok(networks)
    }

    /// Bytes that a checkpoint will take of the memory that is drawn in, where it shares nothing; only its file's head is
    /// read.
    pub(crate) fn bytes_to_come(&self, model: &ModelFile) -> Result<u64, BackendError> {
        Ok(Checkpoint::open(&model.path).map_err(load_error)?.bytes(self.compute))
    }

    /// The tensors from the file. A bad file must not push a good model out, so it is judged before room is made.
    fn read(&mut self, model: &Arc<ModelFile>) -> Result<Rc<HostModel>, BackendError> {
        let checkpoint = Checkpoint::open(&model.path).map_err(load_error)?;
        check_version(model).map_err(load_error)?;
        let compute = self.compute;
        let Some(hosts) = &mut self.hosts else {
            let beside = self.make_room(checkpoint.bytes(compute));
            let read = checkpoint.read(compute, beside.iter().map(|networks| networks.tensors()));
            return read.map(Rc::new).map_err(load_error);
        };
        let beside = hosts.make_room(checkpoint.waiting_bytes(compute));
        let host = checkpoint.read(compute, beside.iter().map(|host| &host.tensors)).map_err(load_error)?;
        let host = Rc::new(host);
        hosts.insert_checkpoint(model.clone(), host.clone());
        Ok(host)
    }

    /// Keeps memory of the device free for what a job computes on it. On a processor the bound leaves enough.
    pub(crate) fn reserve(&mut self, bytes: u64) {
        if self.hosts.is_some() {
            self.models.reserve(bytes);
            self.settle();
        }
    }

    /// Bytes of all that is kept where it is drawn with.
    pub(crate) fn bytes(&self) -> u64 {
        self.models.bytes_with_beside()
    }

    /// Makes room for a checkpoint of so many bytes where it is drawn with; the checkpoints that stay.
    fn make_room(&mut self, bytes: u64) -> Vec<Rc<Networks>> {
        // Those that go for their number may leave enough for what is kept beside them.
        self.models.make_place();
        self.shrink(bytes, Spare::None);
        self.models.make_room(bytes)
    }

    /// From one of the caches of what is kept beside checkpoints, or read and kept.
    fn beside<T, E: OfFile>(
        &mut self,
        cache: impl Fn(&mut Self) -> &mut Lru<Arc<ModelFile>, Rc<T>>,
        file: &Arc<ModelFile>,
        read: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<Rc<T>, E> {
        if let Some(kept) = cache(self).get(file) {
            // Nothing has come. Where even what is in use takes too much, settling here too would have every use of one
            // drive the others out.
            return Ok(kept);
        }
        let read = Rc::new(read(&file.path)?);
        check_version(file).map_err(E::of_file)?;
        cache(self).insert(file.clone(), read.clone());
        self.settle();
        Ok(read)
    }

    /// Brings all within the bounds, after something has come that is kept beside checkpoints, or room is kept free.
    fn settle(&mut self) {
        self.shrink(0, Spare::Last);
        self.models.settle();
        if let Some(hosts) = &mut self.hosts {
            hosts.settle();
        }
    }

    /// Drops what no picture in flight holds until `coming` bytes more are within the bound, or none is left of what goes
    /// first.
    fn shrink(&mut self, coming: u64, spare: Spare) {
        self.count_beside();
        while self.models.excess(coming) > 0 && self.drop_next(spare) {
            self.count_beside();
        }
    }

    /// On a processor what is kept beside the checkpoints goes first: it comes back sooner than one. On a device of its own
    /// memory checkpoints come back by a copy, and what was unused longest goes, whatever it is.
    fn drop_next(&mut self, spare: Spare) -> bool {
        if self.hosts.is_none() {
            return self.drop_beside();
        }
        let beside = self.networks_beside().map(|cache| cache.idle_since());
        let longest = (0..).zip(beside).filter_map(|(place, since): (usize, _)| Some((since?, place))).min();
        match longest {
            Some((since, place)) if self.models.idle_since(spare).is_none_or(|model| since < model) => {
                self.networks_beside()[place].drop_longest_idle()
            }
            _ => self.models.drop_oldest(spare),
        }
    }

    /// The networks that lie beside the checkpoints where it is drawn, the kinds that take most first.
    fn networks_beside(&mut self) -> [&mut dyn Idle; 7] {
        [
            &mut self.controls,
            &mut self.restorers,
            &mut self.scripted,
            &mut self.detector,
            &mut self.parser,
            &mut self.hypernetworks,
            &mut self.upscalers,
        ]
    }

    /// Tells the checkpoints' caches what of their bounds is taken by what lies beside them.
    fn count_beside(&mut self) {
        let networks = sum(&self.controls, ControlModel::bytes)
            + sum(&self.hypernetworks, Hypernetwork::bytes)
            + sum(&self.upscalers, Upscaler::bytes)
            + sum(&self.restorers, Restorer::bytes)
            + sum(&self.detector, FaceDetector::bytes)
            + sum(&self.parser, FaceParser::bytes)
            + sum(&self.scripted, ScriptedNetwork::bytes);
        // What these change is computed from files in the machine's memory.
        let files = sum(&self.vaes, Tensors::bytes) + sum(&self.loras, LoraFile::bytes);
        match &mut self.hosts {
            Some(hosts) => {
                hosts.set_beside(files);
                self.models.set_beside(networks);
            }
            None => self.models.set_beside(networks + files),
        }
    }

    /// Drops one of what is kept beside the checkpoints on a processor, of each kind the one unused longest; whether there was
    /// any.
    fn drop_beside(&mut self) -> bool {
        self.networks_beside().into_iter().any(|cache| cache.drop_longest_idle())
            || self.vaes.drop_longest_idle()
            || self.loras.drop_longest_idle()
    }

    /// Drops every network that no picture in flight holds, when memory is out; whether there was any.
    pub(crate) fn drop_unused(&mut self) -> bool {
        let beside = self.networks_beside().map(|cache| cache.drop_idle());
        let files = [self.vaes.drop_idle(), self.loras.drop_idle()];
        self.count_beside();
        self.models.drop_unused() || beside.contains(&true) || files.contains(&true)
    }

    /// [`Resident::drop_unused`], because memory ran out.
    pub(crate) fn make_do(&mut self) -> bool {
        let dropped = self.drop_unused();
        tracing::warn!(dropped, "out of memory; models that are not in use are dropped");
        dropped
    }

    /// The checkpoints on the device.
    pub(crate) fn loaded(&self) -> Vec<Arc<ModelFile>> {
        self.models.models().cloned().collect()
    }

    /// What the checkpoints take of the memory.
    pub(crate) fn residency(&self) -> Residency {
        let drawn_with = self.models.tier();
        match &self.hosts {
            Some(hosts) => Residency { host: hosts.tier(), device: Some(drawn_with) },
            None => Residency { host: drawn_with, device: None },
        }
    }

    /// What `run` gives or, where that takes more memory than there is, gives once all that is not in use is dropped.
    ///
    /// # Errors
    /// What `run` says.
    pub(crate) fn with_room<T>(
        &mut self,
        mut run: impl FnMut(&mut Self) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        match run(self) {
            Err(BackendError::OutOfMemory(_)) if self.make_do() => run(self),
            result => result,
        }
    }

    /// The checkpoint with a VAE and LoRAs over it. `loras` are those that act at the same time. `seamless` networks draw
    /// pictures whose opposite edges join.
    pub(crate) fn networks(
        &mut self,
        model: &Arc<ModelFile>,
        vae: Option<&Arc<ModelFile>>,
        loras: &[&LoraUse],
        seamless: bool,
    ) -> Result<Rc<Networks>, BackendError> {
        let base = self.checkpoint(model)?;
        if vae.is_none() && loras.is_empty() && !seamless {
            return Ok(base);
        }
        let key = VariantKey { model: model.clone(), patches: patches(vae, loras), seamless };
        if let Some(variant) = self.models.variant(&key) {
            return Ok(variant);
        }
        let mut overlay = Tensors::default();
        if let Some(vae) = vae {
            let read = |path: &Path| Tensors::read_vae(path).map_err(load_error);
            let tensors = self.beside(|resident| &mut resident.vaes, vae, read).map_err(of_vae)?;
            overlay
                .named
                .extend(tensors.named.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())));
        }
        let mut warnings = Vec::new();
        if !loras.is_empty() {
            let uses = loras.iter().map(|lora| self.lora(lora)).collect::<Result<Vec<_>, _>>()?;
            let (patched, told) = lora::patch_fitting(base.tensors(), uses).map_err(lora_error)?;
            for warning in &told {
                tracing::warn!(model = model.name, %warning);
            }
            overlay.named.extend(patched.named);
            warnings = told;
        }
        let mut variant = base.with(&overlay);
        if seamless {
            variant = variant.and_then(|variant| variant.seamless());
        }
        // What LoRAs change keeps its shape, so that a VAE alone can be one that does not fit.
        let variant = variant.map_err(|problem| match vae {
            Some(vae) => vae_error(problem.of(&vae.path)),
            None => load_error(problem.of(&model.path)),
        })?;
        let variant = Rc::new(variant.with_warnings(warnings));
        self.models.insert_variant(key, variant.clone());
        if self.hosts.is_some() {
            self.settle();
        }
        Ok(variant)
    }

    fn lora(&mut self, lora: &LoraUse) -> Result<lora::LoraUse, BackendError> {
        let file = self.lora_file(&lora.file)?;
        let blocks = lora.blocks.as_deref().map(BlockWeights::new).transpose();
        let blocks = blocks.map_err(|error| BackendError::Lora(format!("{}: {error}", lora.file.name)))?;
        let dyn_dim = lora.rank.map(|rank| rank as usize);
        Ok(lora::LoraUse { file, text: lora.text, unet: lora.unet, blocks, dyn_dim })
    }

    fn lora_file(&mut self, file: &Arc<ModelFile>) -> Result<Rc<LoraFile>, BackendError> {
        self.beside(|resident| &mut resident.loras, file, |path| LoraFile::load(path).map_err(lora_error))
    }

    /// The textual inversions a prompt may name, as far as `is_named` says so by name: those of the embeddings folder and
    /// those that LoRAs in use bring along. Files that are none, or of another width, are left out.
    pub(crate) fn embeddings(
        &mut self,
        resources: &Resources,
        width: i64,
        is_named: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Rc<Embedding>>, BackendError> {
        let mut found = Vec::new();
        for lora in &resources.loras {
            let bundled = match self.bundled.get(&lora.file) {
                Some(bundled) => bundled,
                None => {
                    let read = self.lora_file(&lora.file)?.embeddings().map_err(lora_error)?;
                    let bundled = Rc::new(read.into_iter().map(Rc::new).collect::<Vec<_>>());
                    self.bundled.insert(lora.file.clone(), bundled.clone());
                    bundled
                }
            };
            found.extend(bundled.iter().filter(|embedding| is_named(&embedding.name)).cloned());
        }
        for file in resources.embeddings.iter().filter(|file| is_named(&file.name)) {
            let read = |path: &Path| -> Result<_, BackendError> {
                let embedding =
                    Embedding::load(path).inspect_err(|error| tracing::warn!(%error, "no embedding")).ok();
                if embedding.is_some() {
                    check_version(file).map_err(load_error)?;
                }
                Ok(embedding.map(|embedding| Rc::new(Embedding { name: file.name.clone(), ..embedding })))
            };
            found.extend(cached(&mut self.embeddings, file, read)?);
        }
        found.retain(|embedding| match embedding.for_width(width) {
            Ok(_) => true,
            Err(skipped) => {
                tracing::warn!(embedding = embedding.name, %skipped);
                false
            }
        });
        Ok(found)
    }

    /// What the hypernetworks in use do to contexts; `None` when there are none.
    pub(crate) fn context_map(
        &mut self,
        resources: &Resources,
    ) -> Result<Option<Rc<Hypernetworks>>, BackendError> {
        let device = self.compute.device;
        let mut list = Vec::new();
        for (file, strength) in &resources.hypernetworks {
            let read = |path: &Path| {
                Hypernetwork::load(path, device).map_err(|error| match error {
                    HypernetworkError::Unreadable(error) => load_error(error),
                    HypernetworkError::Torch(error) => device_error(error),
                    other => BackendError::Model(format!("{}: {other}", file.name)),
                })
            };
            list.push((self.beside(|resident| &mut resident.hypernetworks, file, read)?, *strength));
        }
        Ok((!list.is_empty()).then(|| Rc::new(Hypernetworks(list))))
    }

    /// A control network for a checkpoint.
    pub(crate) fn control(
        &mut self,
        file: &Arc<ModelFile>,
        model: &Arc<ModelFile>,
    ) -> Result<Rc<ControlModel>, BackendError> {
        for checkpoint in [None, Some(model.clone())] {
            if let Some(control) = self.controls.get(&(file.clone(), checkpoint)) {
                return Ok(control);
            }
        }
        let base = self.checkpoint(model)?;
        while self.controls.is_full() && self.controls.drop_longest_idle() {}
        let control = ControlModel::load(&file.path, self.compute, base.tensors()).map_err(load_error)?;
        check_version(file).map_err(load_error)?;
        let checkpoint = control.is_tied().then(|| model.clone());
        let control = Rc::new(control);
        self.controls.insert_beside((file.clone(), checkpoint), control.clone());
        self.settle();
        Ok(control)
    }

    pub(crate) fn upscaler(&mut self, file: &Arc<ModelFile>) -> Result<Rc<Upscaler>, PictureError> {
        let device = self.compute.device;
        self.beside(
            |resident| &mut resident.upscalers,
            file,
            |path| Upscaler::load(path, device, Kind::Float, ChannelOrder::default()),
        )
    }

    pub(crate) fn restorer(&mut self, file: &Arc<ModelFile>) -> Result<Rc<Restorer>, PictureError> {
        let device = self.compute.device;
        self.beside(|resident| &mut resident.restorers, file, |path| Restorer::load(path, device))
    }

    pub(crate) fn face_detector(&mut self, file: &Arc<ModelFile>) -> Result<Rc<FaceDetector>, PictureError> {
        let device = self.compute.device;
        self.beside(|resident| &mut resident.detector, file, |path| FaceDetector::load(path, device))
    }

    pub(crate) fn face_parser(&mut self, file: &Arc<ModelFile>) -> Result<Rc<FaceParser>, PictureError> {
        let device = self.compute.device;
        self.beside(|resident| &mut resident.parser, file, |path| FaceParser::load(path, device))
    }

    pub(crate) fn scripted(&mut self, file: &Arc<ModelFile>) -> Result<Rc<ScriptedNetwork>, BackendError> {
        let device = self.compute.device;
        let read = |path: &Path| ScriptedNetwork::load(path, device).map_err(load_error);
        self.beside(|resident| &mut resident.scripted, file, read)
    }
}

/// What is laid over a checkpoint, as text: equal exactly when the same is.
pub(crate) fn patches(vae: Option<&Arc<ModelFile>>, loras: &[&LoraUse]) -> String {
    let file = |file: &ModelFile| format!("{}@{}", file.path.display(), file.version);
    let vae = vae.map(|vae| format!("vae {}", file(vae)));
    let loras = loras.iter().map(|lora| {
        let LoraUse { file: of, text, unet, rank, blocks, .. } = lora;
        format!("lora {} {text} {unet} {rank:?} {blocks:?}", file(of))
    });
    vae.into_iter().chain(loras).collect::<Vec<_>>().join("\n")
}

/// Several hypernetworks in the order of the prompt.
pub(crate) struct Hypernetworks(Vec<(Rc<Hypernetwork>, f64)>);

impl ContextMap for Hypernetworks {
    fn map(&self, context: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let both = (context.shallow_clone(), context.shallow_clone());
        self.0
            .iter()
            .try_fold(both, |(keys, values), (network, strength)| network.apply(&keys, &values, *strength))
    }
}

/// From the cache, or read and kept.
fn cached<V: Clone, E>(
    cache: &mut Lru<Arc<ModelFile>, V>,
    file: &Arc<ModelFile>,
    read: impl FnOnce(&Path) -> Result<V, E>,
) -> Result<V, E> {
    if let Some(value) = cache.get(file) {
        return Ok(value);
    }
    let value = read(&file.path)?;
    cache.insert(file.clone(), value.clone());
    Ok(value)
}

fn sum<K: PartialEq, V>(cache: &Lru<K, Rc<V>>, bytes: impl Fn(&V) -> u64) -> u64 {
    cache.values().map(|value| bytes(value)).sum()
}

fn lora_error(error: lora::LoraError) -> BackendError {
    match error {
        lora::LoraError::Torch(error) => device_error(error),
        other => BackendError::Lora(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
