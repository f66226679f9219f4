//! Calls beside guests of others that have all the threads or slots there are: everything on the device waits for a step hook, so
//! that it must not wait for them, and what is done already must not be done again because of them.

use crate::support::{TestHost, example, folder_grant, guest};
use gesso_core::step_hook::{
    Moment, Point, StepHook, TensorAnswer, TensorError, TensorId, TensorOp, Tensors,
};
use gesso_plugin_host::{Budget, CallContext, FolderSource, GrantedFolder, Grants, HookError, SavedPicture};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Calls of one plugin at a time, of the eight of a [`TestHost`]; at least as many as there are threads for them.
const CALLS: usize = 6;
/// The step hook's wall clock: enough for a busy machine.
const STEP_WALL: Duration = Duration::from_secs(3);
/// Nobody keeps a thread for longer, whatever becomes of the test.
const HELD_MAX: Duration = Duration::from_secs(60);

/// A folder on a disk that does not answer.
#[derive(Default)]
struct Stuck {
    waiting: AtomicUsize,
    answers: Mutex<bool>,
    changed: Condvar,
}

impl Stuck {
    fn release(&self) {
        *self.answers.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

struct StuckFolder(Arc<Stuck>);

impl FolderSource for StuckFolder {
    fn open(&self, _: &Path) -> io::Result<Arc<dyn GrantedFolder>> {
        Ok(Arc::new(Self(self.0.clone())))
    }
}

impl GrantedFolder for StuckFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let answers = self.0.answers.lock().unwrap();
        drop(self.0.changed.wait_timeout_while(answers, HELD_MAX, |answers| !*answers).unwrap());
        Ok(Vec::new())
    }

    fn read(&self, _: &str, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Tensors of a device that says yes to everything.
#[derive(Default)]
pub(crate) struct Agreeable {
    made: u32,
}

impl Tensors for Agreeable {
    fn carry_out(&mut self, op: TensorOp) -> Result<TensorAnswer, TensorError> {
        Ok(match op {
            TensorOp::Duplicate(_) | TensorOp::Reduce(..) | TensorOp::Slice(..) => {
                self.made += 1;
                TensorAnswer::Tensor(TensorId(TensorId::GUIDED.0 + self.made))
            }
            TensorOp::Shape(_) => TensorAnswer::Shape([4, 8, 8]),
            TensorOp::Read(_) => TensorAnswer::Values(vec![0.0; 256]),
            _ => TensorAnswer::Done,
        })
    }

    fn are_finite(&mut self) -> Result<bool, TensorError> {
        Ok(true)
    }
}

pub(crate) const MOMENT: Moment = Moment {
    point: Point::Guided,
    step: 0,
    steps: 4,
    call: 0,
    sigma: 10.0,
    scale: 1.0,
    timestep: 950.0,
    guidance: 7.0,
    picture: 0,
    seed: 7,
    is_second: false,
};

/// What the guest that waits for the folder needs.
fn granted() -> BTreeMap<String, Grants> {
    [("wants-folder".to_owned(), folder_grant("wildcards", Path::new("/")))].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_hook_answers_while_guests_of_others_have_every_thread() {
    let stuck = Arc::<Stuck>::default();
    let folders = Arc::new(StuckFolder(stuck.clone()));
    let test = TestHost::with_folders(folders, |settings| {
        settings.budgets.step = Budget { wall: STEP_WALL, ..settings.budgets.step.clone() };
        settings.budgets.hook.wall = HELD_MAX;
        settings.grants = granted();
    })
    .await;
    test.host.install(example("example-step-hook")).await.unwrap();
    test.host.install(guest("wants-folder")).await.unwrap();

    let cancelled = Arc::<AtomicBool>::default();
    let calls: Vec<_> = (0..CALLS)
        .map(|number| {
            let (host, cancelled) = (test.host.clone(), cancelled.clone());
            let call = CallContext { cancelled, ..CallContext::new("test", number as u64) };
            tokio::spawn(async move { host.before(&call, "{}".to_owned()).await })
        })
        .collect();
    let threads = std::thread::available_parallelism().unwrap().get().clamp(2, 4);
    test.wait_until("a guest on every thread", |_| stuck.waiting.load(Ordering::Relaxed) >= threads).await;

    let scripts = json!({"Guidance rescale": {"args": [0.5]}});
    let call = CallContext::new("test", 7);
    let hooks = test.host.step_hooks(&call, scripts.as_object().unwrap()).unwrap();
    let [hook]: [_; 1] = hooks.try_into().unwrap_or_else(|_| panic!("there is one such hook"));
    assert!(hook.wants(&MOMENT));
    // As on the device's thread, which waits for it.
    let ran = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        (hook.run(&MOMENT, &mut Agreeable::default()), began.elapsed())
    });
    let (ran, took) = ran.await.unwrap();
    assert!(matches!(ran, Ok(true)), "{ran:?} after {took:?}");
    assert!(took < STEP_WALL, "{took:?}");
    assert_eq!(stuck.waiting.load(Ordering::Relaxed), threads, "the others went on meanwhile");

    cancelled.store(true, Ordering::Relaxed);
    stuck.release();
    for call in calls {
        drop(call.await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_hook_that_finds_every_slot_taken_is_told_of_and_fails_nothing() {
    let stuck = Arc::<Stuck>::default();
    let folders = Arc::new(StuckFolder(stuck.clone()));
    let test = TestHost::with_folders(folders, |settings| {
        settings.max_concurrent_calls = 1;
        settings.budgets.hook.wall = Duration::from_secs(2);
        settings.grants = granted();
    })
    .await;
    test.host.install(example("example-save-hook")).await.unwrap();
    test.host.install(guest("wants-folder")).await.unwrap();
    let picture = SavedPicture {
        path: "a/b.png".into(),
        format: "png".into(),
        bytes: 3,
        infotext: String::new(),
        is_grid: false,
    };
    let call = CallContext::new("test", 7);
    assert_eq!(test.host.picture_saved(&call, "{}", &picture).await.unwrap().0, Vec::<String>::new());

    // Its call ends at the wall clock; its slot is taken until the disk answers.
    let ended = test.before("a hill").await;
    assert!(matches!(ended, Err(HookError::PluginFailed { .. })), "{ended:?}");
    assert_eq!(stuck.waiting.load(Ordering::Relaxed), 1);
    assert_eq!(test.host.picture_saved(&call, "{}", &picture).await.unwrap().0, ["example-save-hook"]);
    stuck.release();
}
