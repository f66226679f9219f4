//! Times calls of plugins, for `cargo xtask bench plugins`: `time_calls BUILT PYTHON JS OPENCV FOLDER`, where BUILT has the
//! folders `plugins` and `guests`, PYTHON and JS are request hooks of the kits, OPENCV is the script that times others on the
//! picture that FOLDER takes. Prints `name<TAB>milliseconds` lines; medians, where a call can be repeated.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers fails by panicking and speaks on standard output"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin_host::{
    Annotation, Budget, Budgets, CallContext, Called, FolderSource, GrantedFolder, Grants, HostSettings,
    NoNetworks, NoStores, PluginHost, PluginState, Policy,
};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable, ResourceType};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Pictures are lent and given back in memory that the server's allocator keeps, and the C library's would fault in anew.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SIDE: u32 = 512;
const CALLS: usize = 400;
const PICTURES: usize = 40;
/// How often plugins and OpenCV take their turns.
const TURNS: usize = 4;
/// Preprocessors and their first threshold.
const MODULES: [(&str, f64); 2] = [("canny", 100.0), ("blur_gaussian", 9.0)];
const MANY: usize = 1000;
const PARAMS: &str =
    r#"{"prompt":"a {red|blue} hill by the sea","seed":1,"steps":20,"width":512,"height":512}"#;

#[tokio::main]
async fn main() {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [built, python, js, opencv, folder] = &arguments[..] else {
        panic!("call it as time_calls BUILT PYTHON JS OPENCV FOLDER");
    };
    let built =
        |kind: &str, name: &str| std::fs::read(built.join(kind).join(format!("{name}.wasm"))).unwrap();
    let picture = picture();
    std::fs::write(folder.join("picture.rgb"), &picture.data).unwrap();

    let good = built("guests", "good-v1");
    let bare = Bare::new(&good);
    let host = Host::start().await;
    host.0.install(good.clone()).await.unwrap();
    // In turns, so that both meet the machine in the same mood.
    let (mut alone, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        alone.push(timed(|| bare.call()));
        ours.push(host.before().await);
    }
    say("wasmtime alone, instantiate and call", median(alone));
    say("the same in the host", median(ours));

    let (_, empty) = Host::start().await.restart().await;
    say("a start without plugins", empty);
    for (language, file) in [("Python", python), ("JavaScript", js)] {
        let host = Host::start().await;
        let began = Instant::now();
        host.0.install(std::fs::read(file).unwrap()).await.unwrap();
        say(&format!("{language}, install"), began.elapsed());
        say(&format!("{language}, first call"), host.before().await);
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            calls.push(host.before().await);
        }
        say(&format!("{language}, call"), median(calls));
        let (host, start) = host.restart().await;
        say(&format!("{language}, start"), start);
        say(&format!("{language}, first call after it"), host.before().await);
    }

    let host = Host::start().await;
    host.0.install(built("plugins", "watermark")).await.unwrap();
    let settings = serde_json::json!({"text": "gesso"});
    host.0.set_grants("watermark", Grants { settings, ..Grants::default() }).await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..PICTURES {
        let pictures = vec![picture.clone()];
        let began = Instant::now();
        host.0.after(&CallContext::new("bench", 1), PARAMS, pictures).await.unwrap();
        calls.push(began.elapsed());
    }
    say("watermark, after", median(calls));
    host.0.install(built("plugins", "preprocessors")).await.unwrap();
    preprocessors(&host, &picture, opencv, folder).await;
    many(&good).await;
}

/// Preprocessors and OpenCV on the same picture, in turns.
async fn preprocessors(host: &Host, picture: &Pixels, opencv: &Path, folder: &Path) {
    let mut own = MODULES.map(|_| Vec::new());
    let mut others: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for _ in 0..TURNS {
        for ((module, threshold_a), calls) in MODULES.into_iter().zip(&mut own) {
            let arguments =
                serde_json::json!({"resolution": SIDE, "threshold_a": threshold_a, "threshold_b": 200.0})
                    .to_string();
            for _ in 0..PICTURES / TURNS {
                let annotation =
                    Annotation { source: picture.clone(), mask: None, arguments: arguments.clone() };
                let began = Instant::now();
                host.0.annotate(&CallContext::new("bench", 1), module, annotation).await.unwrap();
                calls.push(began.elapsed());
            }
        }
        let mut python = Command::new("python3");
        let output = python.arg(opencv).arg(folder).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "OpenCV ended with {}", output.status);
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let (name, millis) = line.split_once('\t').unwrap();
            let took = Duration::from_secs_f64(millis.parse::<f64>().unwrap() / 1000.0);
            others.entry(name.to_owned()).or_default().push(took);
        }
    }
    MODULES.iter().zip(own).for_each(|((module, _), calls)| say(module, median(calls)));
    others.into_iter().for_each(|(name, calls)| say(&name, median(calls)));
}

/// A thousand plugins that all want every request, and then but one of them.
async fn many(good: &[u8]) {
    let host = Host::start().await;
    host.0.install(good.to_vec()).await.unwrap();
    let mut before = Vec::new();
    for _ in 0..CALLS {
        before.push(host.before().await);
    }
    let (alone, memory) = (median(before), resident());
    let began = Instant::now();
    for index in 0..MANY - 1 {
        host.0.install(renamed(good, index)).await.unwrap();
    }
    say("999 installs", began.elapsed());
    let active = host.0.list().iter().filter(|plugin| plugin.state == PluginState::Active).count();
    assert_eq!(active, MANY, "not all of them are active");
    println!("memory of 999 plugins, MB\t{:.1}", (resident() - memory) / 1e6);
    let mut chain = Vec::new();
    for _ in 0..5 {
        chain.push(host.before().await);
    }
    say("one hook", alone);
    say("a thousand hooks", median(chain));
    let named = Policy { called: Some(Called::Named), ..Policy::default() };
    for index in 0..MANY - 1 {
        host.0.configure(&id_of(index), named.clone()).await.unwrap();
    }
    let mut beside = Vec::new();
    for _ in 0..CALLS {
        beside.push(host.before().await);
    }
    say("one hook beside 999", median(beside));
}

/// Four letters.
fn id_of(index: usize) -> String {
    format!("g{index:03}")
}

/// The same component under another id.
fn renamed(component: &[u8], index: usize) -> Vec<u8> {
    let (was, becomes) = (br#""id": "good""#, format!("\"id\": \"{}\"", id_of(index)));
    let mut renamed = component.to_vec();
    // Once in the section that is read, and once in the data that it was made from.
    let places = component.windows(was.len()).enumerate().filter(|(_, window)| window == was);
    places.for_each(|(at, _)| renamed[at..at + was.len()].copy_from_slice(becomes.as_bytes()));
    renamed
}

/// Something with edges and without noise that would hide them.
fn picture() -> Pixels {
    let places = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
    let data = places.flat_map(|(x, y)| [(x ^ y) as u8, (x * 7 / 3 + y) as u8, ((x * x + y * y) >> 8) as u8]);
    Pixels { width: SIDE, height: SIDE, format: PixelFormat::Rgb8, data: data.collect() }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn say(name: &str, took: Duration) {
    println!("{name}\t{:.4}", took.as_secs_f64() * 1000.0);
}

/// Bytes of this process in memory, in pages of 4 KiB.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

/// The plugin host with its default budgets.
struct Host(PluginHost, tempfile::TempDir);

impl Host {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self(Self::open(home.path()).await, home)
    }

    /// Ends it, and starts another one in the same folders: how long that start takes.
    async fn restart(self) -> (Self, Duration) {
        let Self(host, home) = self;
        host.shutdown().await;
        drop(host);
        let began = Instant::now();
        let host = Self::open(home.path()).await;
        (Self(host, home), began.elapsed())
    }

    async fn open(home: &Path) -> PluginHost {
        let compiler = std::env::current_exe().unwrap();
        let compiler = compiler.parent().unwrap().parent().unwrap().join("gesso-plugin-compiler");
        let settings = HostSettings {
            folder: home.join("plugins"),
            state: home.join("state"),
            compiler: vec![compiler.into()],
            budgets: Budgets {
                hook: Budget { cpu: Duration::from_secs(60), ..Budget::default() },
                ..Budgets::default()
            },
            max_concurrent_calls: 8,
            trusted_keys: Vec::new(),
            grants: BTreeMap::new(),
            tiers: BTreeMap::new(),
            own_paths: std::collections::BTreeSet::new(),
        };
        PluginHost::start(settings, Arc::new(NoFolders), Arc::new(NoNetworks), Arc::new(NoStores))
            .await
            .unwrap()
    }

    async fn before(&self) -> Duration {
        let began = Instant::now();
        self.0.before(&CallContext::new("bench", 1), PARAMS.to_owned()).await.unwrap();
        began.elapsed()
    }
}

struct NoFolders;

impl FolderSource for NoFolders {
    fn open(&self, _: &Path) -> io::Result<Arc<dyn GrantedFolder>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// wasmtime without a host of ours around it: no budget, no log, no threads of its own.
struct Bare {
    engine: Engine,
    guest: bindings::RequestHookPre<State>,
}

mod bindings {
    wasmtime::component::bindgen!({ path: "../../wit/gesso-plugin-0.1.0", world: "request-hook" });
}

use bindings::gesso::plugin::{call, folders, images, types};

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The guest that is timed asks for nothing.
fn not_asked() -> ! {
    panic!("the guest asked its host for something")
}

impl types::Host for State {}

impl call::Host for State {
    fn request_id(&mut self) -> String {
        not_asked()
    }
    fn seed(&mut self) -> u64 {
        not_asked()
    }
    fn settings(&mut self) -> String {
        not_asked()
    }
    fn log(&mut self, _: call::Level, _: String) {
        not_asked()
    }
    fn cancelled(&mut self) -> bool {
        not_asked()
    }
}

impl folders::Host for State {
    fn list(&mut self, _: String) -> Result<Vec<String>, types::Fault> {
        not_asked()
    }
    fn read(&mut self, _: String, _: String) -> Result<Vec<u8>, types::Fault> {
        not_asked()
    }
}

impl images::Host for State {}

type Handle = Resource<images::Image>;

impl images::HostImage for State {
    fn allocate(&mut self, _: types::ImageDesc) -> Result<Handle, types::Fault> {
        not_asked()
    }
    fn desc(&mut self, _: Handle) -> types::ImageDesc {
        not_asked()
    }
    fn read_rows(&mut self, _: Handle, _: u32, _: u32) -> Result<Vec<u8>, types::Fault> {
        not_asked()
    }
    fn write_rows(&mut self, _: Handle, _: u32, _: Vec<u8>) -> Result<(), types::Fault> {
        not_asked()
    }
    fn resize(&mut self, _: Handle, _: u32, _: u32) -> Result<Handle, types::Fault> {
        not_asked()
    }
    fn convert(&mut self, _: Handle, _: types::PixelFormat) -> Result<Handle, types::Fault> {
        not_asked()
    }
    fn drop(&mut self, _: Handle) -> wasmtime::Result<()> {
        not_asked()
    }
}

impl Bare {
    fn new(component: &[u8]) -> Self {
        let engine = Engine::new(&Config::new()).unwrap();
        let component = Component::new(&engine, component).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
        bindings::RequestHook::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).unwrap();
        // A resource of another world, which whatever is built with the SDK names as an import and does not use.
        let mut tensors = linker.instance("gesso:plugin/tensors@0.2.0").unwrap();
        tensors.resource("tensor", ResourceType::host::<()>(), |_, _| not_asked()).unwrap();
        let guest = linker.instantiate_pre(&component).unwrap();
        Self { engine, guest: bindings::RequestHookPre::new(guest).unwrap() }
    }

    fn call(&self) {
        let state = State { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, state);
        let guest = self.guest.instantiate(&mut store).unwrap();
        let verdict = guest.call_before(&mut store, &PARAMS.to_owned()).unwrap().unwrap();
        assert!(matches!(verdict, bindings::Verdict::Replaced(_)));
    }
}
