//! A host for unit tests, on native targets alone: what a plugin asks for there, a test has made up. Pictures and tensors lie
//! in memory, a drawing has ended when it began, and every sentence of the plugin's is kept. It knows the contract, and runs
//! no component: budgets of time, memory and handles are `gesso plugin test`'s.
//!
//! ```
//! use gesso_plugin::serde_json::json;
//! use gesso_plugin::{Fault, Params, RequestHook, Verdict, call, fake};
//!
//! struct Style;
//!
//! impl RequestHook for Style {
//!     fn before(params: &mut Params) -> Result<Verdict, Fault> {
//!         let settings: gesso_plugin::serde_json::Value = call::settings()?;
//!         params.set("styles", settings["style"].clone());
//!         call::log(call::Level::Info, "styled");
//!         Ok(Verdict::Continue)
//!     }
//! }
//!
//! let host = fake::Host::new().settings(json!({"style": "ink"}));
//! let mut params = Params::from_json("{}")?;
//! host.run(|| Style::before(&mut params))?;
//! assert_eq!(params.get("styles"), Some(&json!("ink")));
//! assert_eq!(host.log(), [(call::Level::Info, "styled".to_owned())]);
//! # Ok::<(), Fault>(())
//! ```

pub(crate) mod call;
mod files;
pub(crate) mod images;
pub(crate) mod inference;
pub(crate) mod models;
pub(crate) mod outgoing;
mod resampling;
mod stores;
pub(crate) mod tensors;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use http::{Request, Response};
use serde_json::Value;

use crate::call::Level;
use crate::inference::Drawn;
use crate::models::Tensor as NetworkTensor;
use crate::{DrawnPicture, Fault, Grid, Image, Moment, PictureStage, PixelFormat, Point, Tensor};

pub(crate) use files::{assets, folders};
pub use inference::Drawing;
pub(crate) use stores::{blobs, kv};

/// Values under names.
type Named = BTreeMap<String, Vec<u8>>;
type Shared = Rc<RefCell<State>>;

thread_local! {
    /// The host of the call that this thread runs. Tests have a thread each.
    static HOST: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// A host that answers with what it was given, and keeps what it was asked. It grants what it has: a folder, a network or an
/// answer that no function here named is not permitted.
pub struct Host(Shared);

struct State {
    request_id: String,
    seed: u64,
    settings: String,
    is_cancelled: bool,
    reads_tensors: bool,
    folders: BTreeMap<String, Named>,
    assets: Named,
    networks: BTreeMap<String, Network>,
    artist: Option<Rc<dyn Fn(&Drawing) -> Result<Drawn, Fault>>>,
    web: Option<Rc<dyn Fn(&Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Fault>>>,
    kv: Named,
    kv_bytes: u64,
    blobs: Named,
    blob_bytes: u64,
    log: Vec<(Level, String)>,
    drawings: Vec<Rc<Drawing>>,
    requests: Vec<Request<Vec<u8>>>,
}

#[derive(Clone)]
struct Network {
    about: Option<Value>,
    run: Rc<dyn Fn(&[NetworkTensor]) -> Result<Vec<NetworkTensor>, Fault>>,
}

impl Default for Host {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(State {
            request_id: "test".to_owned(),
            seed: 0,
            settings: "{}".to_owned(),
            is_cancelled: false,
            reads_tensors: false,
            folders: BTreeMap::new(),
            assets: Named::new(),
            networks: BTreeMap::new(),
            artist: None,
            web: None,
            kv: Named::new(),
            kv_bytes: u64::MAX,
            blobs: Named::new(),
            blob_bytes: u64::MAX,
            log: Vec::new(),
            drawings: Vec::new(),
            requests: Vec::new(),
        })))
    }
}

/// What it has. Each returns the host, to say more of it.
impl Host {
    /// One that has nothing and grants room for what the plugin keeps.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.0.borrow_mut());
        self
    }

    /// Those that the admin left; none are `{}`.
    pub fn settings(self, settings: Value) -> Self {
        self.with(|state| state.settings = settings.to_string())
    }

    /// The request's seed, 0 where nothing is said.
    pub fn seed(self, seed: u64) -> Self {
        self.with(|state| state.seed = seed)
    }

    /// The request's id, `test` where nothing is said.
    pub fn request_id(self, id: impl Into<String>) -> Self {
        self.with(|state| state.request_id = id.into())
    }

    /// Nobody waits for the call.
    pub fn cancelled(self) -> Self {
        self.with(|state| state.is_cancelled = true)
    }

    /// A file of a granted folder.
    pub fn file(self, folder: &str, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(|state| {
            state.folders.entry(folder.to_owned()).or_default().insert(path.to_owned(), bytes.into());
        })
    }

    /// A file that the component carries.
    pub fn asset(self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(|state| {
            state.assets.insert(name.to_owned(), bytes.into());
        })
    }

    /// A granted network, as a function of its inputs.
    pub fn network(
        self,
        name: &str,
        run: impl Fn(&[NetworkTensor]) -> Result<Vec<NetworkTensor>, Fault> + 'static,
    ) -> Self {
        self.with(|state| {
            state.networks.insert(name.to_owned(), Network { about: None, run: Rc::new(run) });
        })
    }

    /// What the file of a network says of it.
    ///
    /// # Panics
    /// Where [`Self::network`] has not named it before.
    pub fn about(self, network: &str, about: Value) -> Self {
        self.with(|state| match state.networks.get_mut(network) {
            Some(known) => known.about = Some(about),
            None => panic!("there is no network {network:?} yet: say `network` before `about`"),
        })
    }

    /// What drawings come to; without this, a black picture of the asked size. [`Drawing::drawn`] says the rest of an answer.
    pub fn drawing(self, draw: impl Fn(&Drawing) -> Result<Drawn, Fault> + 'static) -> Self {
        self.with(|state| state.artist = Some(Rc::new(draw)))
    }

    /// What hosts of the network answer; without this, none may be asked.
    pub fn answer(
        self,
        answer: impl Fn(&Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Fault> + 'static,
    ) -> Self {
        self.with(|state| state.web = Some(Rc::new(answer)))
    }

    /// A value that calls before this one kept.
    pub fn value(self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.with(|state| {
            state.kv.insert(key.to_owned(), value.into());
        })
    }

    /// A blob that calls before this one kept.
    pub fn blob(self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(|state| {
            state.blobs.insert(name.to_owned(), bytes.into());
        })
    }

    /// The grant for values, names counted with them; 0 is none. No bound where nothing is said.
    pub fn kv_bytes(self, bytes: u64) -> Self {
        self.with(|state| state.kv_bytes = bytes)
    }

    /// The grant for blobs, as [`Self::kv_bytes`].
    pub fn blob_bytes(self, bytes: u64) -> Self {
        self.with(|state| state.blob_bytes = bytes)
    }

    /// The grant to read numbers of tensors within a step. Outside of [`Self::run`] a test reads them without.
    pub fn read_tensors(self) -> Self {
        self.with(|state| state.reads_tensors = true)
    }
}

/// A call, and what it asked.
impl Host {
    /// Runs a hook in this host, on this thread. Several calls find what those before them kept.
    pub fn run<T>(&self, call: impl FnOnce() -> T) -> T {
        let _back = Back(HOST.replace(Some(Rc::clone(&self.0))));
        call()
    }

    /// The lines of the plugin's log.
    pub fn log(&self) -> Vec<(Level, String)> {
        self.0.borrow().log.clone()
    }

    /// The values that the plugin keeps.
    pub fn kv(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.borrow().kv.clone()
    }

    /// The blobs that the plugin keeps.
    pub fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.borrow().blobs.clone()
    }

    /// The drawings that were asked for, in order.
    pub fn drawings(&self) -> Vec<Rc<Drawing>> {
        self.0.borrow().drawings.clone()
    }

    /// The requests that were sent, in order.
    pub fn requests(&self) -> Vec<Request<Vec<u8>>> {
        self.0.borrow().requests.clone()
    }
}

/// Puts back the host that there was before a call, if the call panics, too.
struct Back(Option<Shared>);

impl Drop for Back {
    fn drop(&mut self) {
        HOST.set(self.0.take());
    }
}

/// Asks the host of this call. What it has of the test's own functions is taken out of here before it is called, since it may
/// ask the host again.
fn ask<T>(question: impl FnOnce(&mut State) -> T) -> T {
    let Some(host) = HOST.with_borrow(Option::clone) else {
        panic!("there is no host on a native target: call this inside `gesso_plugin::fake::Host::run`")
    };
    let mut state = host.borrow_mut();
    question(&mut state)
}

/// A picture to hand to a hook: whole rows, the top one first.
///
/// # Panics
/// Where the rows are not those of such a picture.
pub fn picture(width: u32, height: u32, format: PixelFormat, rows: &[u8]) -> Image {
    Image::from_host(images::Image::of(width, height, format, rows.to_vec()))
}

/// A tensor to hand to a hook: channels, rows and columns, and the elements row by row.
///
/// # Panics
/// Where there are more or fewer elements.
pub fn tensor(shape: (u32, u32, u32), values: &[f32]) -> Tensor {
    Tensor::from_host(tensors::Tensor::of(shape, values.to_vec()))
}

/// A second handle of the same tensor: the hook takes one, and the test reads in the other what the hook did.
pub fn lend(tensor: &Tensor) -> Tensor {
    Tensor::from_host(tensor.as_host().clone())
}

/// A moment of a drawing, to change: `Moment { step: 3, ..fake::moment() }`.
pub fn moment() -> Moment {
    Moment {
        point: Point::Guided,
        step: 0,
        steps: 20,
        call: 0,
        sigma: 1.0,
        scale: 1.0,
        timestep: 354.0,
        guidance: 7.0,
        picture: 0,
        seed: 0,
        is_second: false,
    }
}

/// What a picture hook is told of a finished picture, to change.
pub fn drawn_picture() -> DrawnPicture {
    DrawnPicture {
        place: 0,
        count: 1,
        stage: PictureStage::Composited,
        prompt: String::new(),
        negative_prompt: String::new(),
        seed: 0,
        subseed: 0,
        infotext: String::new(),
    }
}

/// A grid of so many columns to hand to a hook: as many rows as the pictures need.
///
/// # Panics
/// Where there are no columns.
pub fn grid(pictures: Vec<Image>, columns: u32) -> Grid {
    let rows = (pictures.len() as u32).div_ceil(columns);
    Grid { pictures, columns, rows }
}
