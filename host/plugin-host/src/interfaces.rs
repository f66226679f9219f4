//! The host's side of `gesso:plugin`: generated bindings and the state they work on, one file per WIT
//! interface beside this one. Called by guests only. Permission and bounds are checked here, never in callers.

mod assets;
mod blobs;
mod call;
mod folders;
mod http_account;
mod images;
mod inference;
mod kv;
mod models;
mod streams;
mod tensors;

pub(crate) use self::http_account::OverWritten;
pub(crate) use self::images::OverBudget;
use crate::inference::Inference;
use crate::limits::{PictureAccount, Spent, SummingLimiter};
use crate::load::Capabilities;
use crate::log::{LogLevel, LogRing, tidy};
use crate::outgoing::Outgoing;
use crate::own_time::OwnTime;
use crate::settings::{Budget, CallContext};
use crate::step_port::{StepPort, TensorHandle};
use gesso_core::pixels::Pixels;
use gesso_core::step_hook::TensorId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

wasmtime::component::bindgen!({
    path: "../../wit/gesso-plugin-0.1.0",
    world: "request-hook",
    imports: { default: trappable },
    exports: { default: async },
    with: { "gesso:plugin/images.image": gesso_core::pixels::Pixels },
});

/// What 0.2.0 adds. Its worlds import the interfaces of 0.1.0, whose types and functions are those above.
pub(crate) mod annotator {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/annotator@0.2.0",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/images@0.1.0": super::gesso::plugin::images,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/models@0.2.0": super::picture_hook::gesso::plugin0_2_0::models,
            "gesso:plugin/kv@0.2.0": super::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": super::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

pub(crate) mod grid_hook {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/grid-hook@0.2.0",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/images@0.1.0": super::gesso::plugin::images,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/kv@0.2.0": super::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": super::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

pub(crate) mod http_handler {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/http-handler@0.2.0",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/images@0.1.0": super::gesso::plugin::images,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/models@0.2.0": super::picture_hook::gesso::plugin0_2_0::models,
            "gesso:plugin/kv@0.2.0": super::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": super::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

pub(crate) mod infotext_hook {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/infotext-hook@0.2.0",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/kv@0.2.0": super::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": super::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

pub(crate) mod input_fetcher {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/input-fetcher@0.2.0",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/kv@0.2.0": super::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": super::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

pub(crate) mod model_hook {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/model-hook@0.2.0",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/kv@0.2.0": super::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": super::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

/// Has the interfaces of 0.2.0 that several worlds have; those use its types and functions.
pub(crate) mod picture_hook {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/picture-hook@0.2.0",
        imports: {
            "gesso:plugin/inference@0.2.0.finish": async | trappable,
            "gesso:plugin/inference@0.2.0.upscale": async | trappable,
            "gesso:plugin/inference@0.2.0.interrogate": async | trappable,
            "gesso:plugin/models@0.2.0.list": async | trappable,
            "gesso:plugin/models@0.2.0.about": async | trappable,
            "gesso:plugin/models@0.2.0.run": async | trappable,
            "gesso:plugin/kv@0.2.0": async | trappable,
            "gesso:plugin/blobs@0.2.0": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/images@0.1.0": super::gesso::plugin::images,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/inference@0.2.0.job": crate::inference::JobUnderWay,
        },
    });
}

pub(crate) mod save_hook {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/save-hook@0.2.0",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/kv@0.2.0": super::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": super::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

pub(crate) mod script {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/script@0.2.0",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/images@0.1.0": super::gesso::plugin::images,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/inference@0.2.0": super::picture_hook::gesso::plugin0_2_0::inference,
            "gesso:plugin/models@0.2.0": super::picture_hook::gesso::plugin0_2_0::models,
            "gesso:plugin/kv@0.2.0": super::picture_hook::gesso::plugin0_2_0::kv,
            "gesso:plugin/blobs@0.2.0": super::picture_hook::gesso::plugin0_2_0::blobs,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
        },
    });
}

pub(crate) mod step_hook {
    wasmtime::component::bindgen!({
        path: ["../../wit/gesso-plugin-0.1.0", "../../wit/gesso-plugin-0.2.0"],
        world: "gesso:plugin/step-hook@0.2.0",
        imports: {
            "gesso:plugin/tensors@0.2.0.[method]tensor.shape": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.duplicate": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.apply": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.combine": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.combine-number": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.reduce": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.slice": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.paste": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.draw": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.read": async | trappable,
            "gesso:plugin/tensors@0.2.0.[method]tensor.write": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "gesso:plugin/types@0.1.0": super::gesso::plugin::types,
            "gesso:plugin/call@0.1.0": super::gesso::plugin::call,
            "gesso:plugin/assets@0.2.0": super::picture_hook::gesso::plugin0_2_0::assets,
            "gesso:plugin/tensors@0.2.0.tensor": crate::step_port::TensorHandle,
        },
    });
}

/// Header fields of one HTTP extension call, in wasmtime's in-memory measure.
pub(crate) const FIELD_BYTES: usize = 32 << 10;
/// Random bytes a guest may ask for at once.
const RANDOM_BYTES: u64 = 64 << 10;

/// The log of one call, shared with its standard streams; it outlives the store.
pub(crate) struct CallLog {
    ring: Arc<LogRing>,
    request_id: String,
    line_bytes: usize,
    lines_left: AtomicU32,
    dropped: AtomicU32,
    /// Where a panic was and what it said, from standard error; the trap itself only says `unreachable`.
    panic: Mutex<Panic>,
}

#[derive(Default)]
enum Panic {
    #[default]
    None,
    /// The place is known, the next line is the message.
    At(String),
    Complete(String),
}

impl CallLog {
    pub(crate) fn new(ring: Arc<LogRing>, request_id: &str, budget: &Budget) -> Self {
        Self {
            ring,
            request_id: request_id.to_owned(),
            line_bytes: budget.log_line_bytes,
            lines_left: AtomicU32::new(budget.log_lines),
            dropped: AtomicU32::new(0),
            panic: Mutex::default(),
        }
    }

    /// One line of standard error. Rust writes `thread 'x' panicked at src/lib.rs:1:2:` and the message below it.
    fn error_line(&self, text: &str) {
        let mut panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        match &*panic {
            Panic::At(place) => *panic = Panic::Complete(format!("{place} {}", tidy(text, 200))),
            Panic::None => {
                if let Some(at) = text.find("panicked at") {
                    *panic = Panic::At(tidy(&text[at..], 200));
                }
            }
            Panic::Complete(_) => {}
        }
        drop(panic);
        self.guest_line(LogLevel::Warn, text);
    }

    /// The panic message, where the guest left one.
    pub(crate) fn panic_text(&self) -> Option<String> {
        match &*self.panic.lock().unwrap_or_else(PoisonError::into_inner) {
            Panic::None => None,
            Panic::At(text) | Panic::Complete(text) => Some(text.clone()),
        }
    }

    /// One line, within the call's budget.
    pub(crate) fn guest_line(&self, level: LogLevel, text: &str) {
        let take = |left: u32| left.checked_sub(1);
        if self.lines_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            self.ring.push(level, &self.request_id, tidy(text, self.line_bytes));
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Closes the call's log: says how much was dropped and, where the call failed, why.
    pub(crate) fn finish(&self, failure: Option<&str>) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format!("{dropped} more lines of this call were dropped");
            self.ring.push(LogLevel::Warn, &self.request_id, text);
        }
        if let Some(failure) = failure {
            self.ring.push(LogLevel::Error, &self.request_id, tidy(failure, 4 * self.line_bytes));
        }
    }
}

/// A picture that the guest was lent to make another of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lent {
    /// Among those that it was lent.
    pub(crate) place: usize,
    is_written: bool,
}

impl Lent {
    /// As it is before the guest has touched it.
    pub(crate) fn at(place: usize) -> Self {
        Self { place, is_written: false }
    }

    /// Whether it came back as it was, to that place.
    pub(crate) fn is_untouched_at(self, place: usize) -> bool {
        self == Self::at(place)
    }
}

/// Everything one store holds. A store lives for one call.
pub(crate) struct CallState {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    http_account: http_account::HttpAccount,
    outgoing: Outgoing,
    pub(crate) limiter: SummingLimiter,
    budget: Budget,
    capabilities: Arc<Capabilities>,
    log: Arc<CallLog>,
    context: CallContext,
    /// Shared with the drawings that are under way for it.
    pictures: Arc<PictureAccount>,
    own_time: Arc<OwnTime>,
    /// By their handles, those of the pictures that the guest was lent to make others of.
    lent: HashMap<u32, Lent>,
    network_runs: u32,
    /// How often this call asked `kv` and `blobs`.
    stores_asked: u32,
    /// Present while a script or a picture hook runs.
    pub(crate) inference: Option<Arc<dyn Inference>>,
    /// Present while a step hook runs.
    pub(crate) step: Option<StepPort>,
}

impl CallState {
    pub(crate) fn new(
        budget: &Budget,
        capabilities: Arc<Capabilities>,
        context: CallContext,
        log: Arc<CallLog>,
        (spent, own_time): (Arc<Spent>, Arc<OwnTime>),
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(budget.handles);
        let mut wasi = WasiCtx::builder();
        wasi.allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES)
            // Hash maps of guests are seeded by this: the same request walks them in the same order.
            .insecure_random_seed(u128::from(context.seed))
            .stdout(streams::LogStream::output(log.clone()))
            .stderr(streams::LogStream::error(log.clone()));
        for (name, value) in context.environment.iter() {
            wasi.env(name, value);
        }
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELD_BYTES);
        Self {
            table,
            wasi: wasi.build(),
            http,
            http_account: http_account::HttpAccount::default(),
            outgoing: Outgoing::new(capabilities.hosts.clone()),
            limiter: SummingLimiter::new(budget, spent),
            budget: budget.clone(),
            capabilities,
            log,
            context,
            pictures: Arc::new(PictureAccount::new(budget.image_bytes)),
            own_time,
            lent: HashMap::new(),
            network_runs: 0,
            stores_asked: 0,
            inference: None,
            step: None,
        }
    }

    /// Hands a picture to the guest, on the call's account.
    pub(crate) fn lend(&mut self, pixels: Pixels) -> Result<Resource<Pixels>, OverBudget> {
        images::push(self, pixels)
    }

    /// The same of one that comes back, or whose place another takes: which it is, is known then.
    pub(crate) fn lend_at(&mut self, place: usize, pixels: Pixels) -> Result<Resource<Pixels>, OverBudget> {
        let image = self.lend(pixels)?;
        self.lent.insert(image.rep(), Lent::at(place));
        Ok(image)
    }

    /// Hands a tensor of the step to the guest.
    pub(crate) fn lend_tensor(&mut self, id: TensorId) -> wasmtime::Result<Resource<TensorHandle>> {
        Ok(self.table.push(TensorHandle(id))?)
    }

    pub(crate) fn handles(&self) -> usize {
        self.budget.handles
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.context.cancelled.load(Ordering::Relaxed)
    }

    /// Takes a picture the guest returned.
    pub(crate) fn take(&mut self, image: Resource<Pixels>) -> wasmtime::Result<Pixels> {
        Ok(self.table.delete(image)?)
    }

    /// The same, with which of those it is that the guest was lent; `None` for one that it made.
    pub(crate) fn take_back(&mut self, image: Resource<Pixels>) -> wasmtime::Result<(Pixels, Option<Lent>)> {
        let lent = self.lent.remove(&image.rep());
        Ok((self.take(image)?, lent))
    }
}

/// Everything a guest can be linked to; what it was not granted is refused at load by `grants` instead, where the
/// sentence can say what is missing.
pub(crate) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<_, WasiHttp>(
        linker,
        &(&options).into(),
        CallState::http,
    )?;
    http_account::link(linker)?;
    let outgoing = wasmtime_wasi_http::p2::bindings::http::outgoing_handler::add_to_linker::<_, WasiHttp>;
    outgoing(linker, CallState::http)?;
    RequestHook::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    picture_hook::gesso::plugin0_2_0::inference::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    picture_hook::gesso::plugin0_2_0::models::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    picture_hook::gesso::plugin0_2_0::pictures::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    model_hook::gesso::plugin0_2_0::checkpoints::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    step_hook::gesso::plugin0_2_0::steps::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    step_hook::gesso::plugin0_2_0::tensors::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    picture_hook::gesso::plugin0_2_0::kv::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    picture_hook::gesso::plugin0_2_0::blobs::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    picture_hook::gesso::plugin0_2_0::assets::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

impl gesso::plugin::types::Host for CallState {}
impl model_hook::gesso::plugin0_2_0::checkpoints::Host for CallState {}
impl picture_hook::gesso::plugin0_2_0::pictures::Host for CallState {}
impl step_hook::gesso::plugin0_2_0::steps::Host for CallState {}
