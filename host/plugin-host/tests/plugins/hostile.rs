//! Every guest of `tests/components` against a host with neighbours at work: the right error, in bounded time and
//! memory, while others are served. A guest without a line here fails the last test.

use crate::neighbours::Neighbours;
use crate::support::{TestHost, guest, plugin, repository};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin_host::{
    AnnotateError, Annotation, CallContext, DrawingBudget, FailureKind, HookError, Inference,
    InferenceAnswer, InstallError, Job, OnFailure, Outcome, Policy, ScriptError, ScriptInput, ScriptOutput,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How a guest's story ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// It is never loaded.
    Refused,
    /// It loads, and this hook fails for this reason.
    In(&'static str, FailureKind),
}

macro_rules! cases {
    ($($test:ident: $case:literal => $ends:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            check($case, $ends).await;
        })*
        const CASES: &[&str] = &[$($case),*];
    };
}

use Ends::{In, Refused};
use FailureKind::{BadReturn, Cpu, Fault, Handles, Memory, NoResponse, Trap, WallClock};

cases! {
    a_loop_in_before_ends_at_its_processor_time: "cpu-loop" => In("before", Cpu);
    a_loop_in_after_ends_at_its_processor_time: "cpu-loop-after" => In("after", Cpu);
    a_flood_of_host_calls_ends_at_its_processor_time: "host-call-flood" => In("before", Cpu);
    a_poll_that_never_waits_ends_at_its_processor_time: "poll-spin" => In("before", Cpu);
    a_sleeper_ends_at_the_wall_clock: "sleep-forever" => In("before", WallClock);
    a_memory_bomb_is_denied_memory: "memory-bomb" => In("before", Memory);
    a_picture_bomb_is_denied_pictures: "image-bomb" => In("before", Fault);
    a_handle_leak_is_denied_handles: "handle-leak" => In("before", Fault);
    an_endless_recursion_ends_as_a_trap: "stack-overflow" => In("before", Trap);
    an_abort_ends_as_a_trap: "trap" => In("before", Trap);
    a_panic_ends_as_a_trap_with_its_message: "panic" => In("before", Trap);
    a_giant_return_is_not_taken: "giant-return" => In("before", BadReturn);
    a_return_outside_of_memory_is_not_read: "bogus-return" => In("before", BadReturn);
    a_thousand_pictures_are_not_taken: "many-outputs" => In("after", BadReturn);
    thousands_of_pictures_of_a_script_are_not_taken: "script-bad-return" => In("run", BadReturn);
    drawings_without_end_are_denied_handles: "script-fan-out" => In("run", Handles);
    a_loop_in_an_annotator_ends_at_its_processor_time: "annotator-loop" => In("annotate", Cpu);
    a_handler_that_never_answers_is_found_out: "http-never-answers" => In("http", NoResponse);
    an_endless_body_is_cut_off: "http-endless-body" => In("http", BadReturn);
    a_loop_at_start_is_refused: "start-loop" => Refused;
    a_build_that_cannot_start_is_refused: "good-broken" => Refused;
    a_wish_for_a_folder_is_refused_without_a_grant: "wants-folder" => Refused;
    a_wish_for_outgoing_requests_is_refused: "wants-network" => Refused;
    a_wish_for_sockets_is_refused: "wants-sockets" => Refused;
    a_component_without_a_manifest_is_refused: "no-manifest" => Refused;
    a_component_with_a_bad_manifest_is_refused: "bad-manifest" => Refused;
    a_component_for_another_api_is_refused: "wrong-api" => Refused;
    a_core_module_is_refused: "not-a-component" => Refused;
}

/// Its start has the budget of a call, and is compiled before that.
const REFUSAL_MAX: Duration = Duration::from_secs(30);

async fn check(case: &str, ends: Ends) {
    let test = TestHost::start().await;
    let expected =
        std::fs::read_to_string(repository().join("tests/components").join(case).join("expect.txt"));
    let expected = expected.unwrap();

    let neighbours = Neighbours::start(&test).await;
    let started = Instant::now();
    let installed = test.host.install(guest(case)).await;
    let said = match ends {
        Refused => {
            let error = installed.unwrap_err();
            assert!(started.elapsed() < REFUSAL_MAX, "{case} took {:?}", started.elapsed());
            assert!(
                matches!(error, InstallError::Refused { .. } | InstallError::NeedsGrants { .. }),
                "{error:?}"
            );
            error.to_string()
        }
        In(hook, kind) => {
            let status = installed.unwrap();
            let called = Instant::now();
            let error = call(&test, &status.id, hook).await;
            let limit = test_budget_wall() + Duration::from_secs(2);
            assert!(called.elapsed() < limit, "{case} took {:?}", called.elapsed());
            let HookError::PluginFailed { plugin, hook: failed_in, reason, message } = &error else {
                panic!("{case} ended as {error:?}");
            };
            assert_eq!((plugin.as_str(), *failed_in, *reason), (status.id.as_str(), hook, kind), "{message}");
            let status = test.host.get(&status.id).unwrap();
            assert_eq!(status.failures, 1);
            assert!(status.last_failure.unwrap().contains(message));
            assert!(status.memory_peak_bytes <= 64 << 20, "{} bytes", status.memory_peak_bytes);
            error.to_string()
        }
    };
    assert!(said.contains(expected.trim()), "{case} said: {said}; expected: {expected}");
    println!("{case}: {said} ({:?})", started.elapsed());

    neighbours.were_served().await;
}

fn test_budget_wall() -> Duration {
    Duration::from_secs(6)
}

async fn call(test: &TestHost, id: &str, hook: &str) -> HookError {
    match hook {
        "before" => test.before("a hill").await.unwrap_err(),
        "after" => {
            let picture = Pixels::new(8, 8, PixelFormat::Rgb8, vec![9; 192]).unwrap();
            let context = CallContext::new("test", 7);
            test.host.after(&context, "{}", vec![picture]).await.unwrap_err()
        }
        "annotate" => {
            let source = Pixels::new(8, 8, PixelFormat::Rgb8, vec![9; 192]).unwrap();
            let annotation = Annotation { source, mask: None, arguments: "{}".into() };
            match test.host.annotate(&CallContext::new("test", 7), "hostile", annotation).await {
                Err(AnnotateError::Hook(error)) => error,
                other => panic!("{other:?}"),
            }
        }
        "run" => match script(test, &Arc::default(), Vec::new()).await {
            Err(ScriptError::Hook(error)) => error,
            other => panic!("{other:?}"),
        },
        _ => test.get(id, "/").await.unwrap_err(),
    }
}

async fn script(
    test: &TestHost,
    jobs: &Arc<Jobs>,
    init_images: Vec<Pixels>,
) -> Result<ScriptOutput, ScriptError> {
    let input = ScriptInput { params: "{}".into(), arguments: "[]".into(), init_images, mask: None };
    test.host.run_script(&CallContext::new("test", 7), "hostile", input, jobs.clone()).await
}

/// Draws nothing, for ever: counts what was asked for and what was cancelled.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) begun: AtomicUsize,
    cancelled: Arc<AtomicUsize>,
    /// Kept, so that nobody who waits is told of an end.
    unfinished: Mutex<Vec<Outcome>>,
}

impl Inference for Jobs {
    fn for_plugin(self: Arc<Self>, _: &str, _: DrawingBudget) -> Arc<dyn Inference> {
        self
    }

    fn generate(&self, _: String, _: Vec<Pixels>, _: Option<Pixels>, outcome: Outcome) -> Job {
        self.unfinished.lock().unwrap().push(outcome);
        self.begun.fetch_add(1, Ordering::Relaxed);
        let cancelled = self.cancelled.clone();
        let cancel = move || {
            cancelled.fetch_add(1, Ordering::Relaxed);
        };
        Job::new(|| 0.0, cancel)
    }

    fn upscale(&self, picture: Pixels, _: String, _: f64) -> InferenceAnswer<Pixels> {
        Box::pin(async { Ok(picture) })
    }

    fn interrogate(&self, _: Pixels, model: String) -> InferenceAnswer<String> {
        Box::pin(async { Ok(model) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drawings_that_a_script_leaves_behind_are_cancelled() {
    let test = TestHost::start().await;
    for guest_name in ["script-leaves-jobs", "script-fan-out"] {
        test.host.install(guest(guest_name)).await.unwrap();
        let jobs = Arc::new(Jobs::default());
        let ended = script(&test, &jobs, Vec::new()).await;
        assert_eq!(ended.is_ok(), guest_name == "script-leaves-jobs", "{ended:?}");
        // The store goes with the guest's task, which may end a moment later.
        let begun = jobs.begun.load(Ordering::Relaxed);
        assert!(begun >= 3);
        for _ in 0..200 {
            if jobs.cancelled.load(Ordering::Relaxed) == begun {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(jobs.cancelled.load(Ordering::Relaxed), begun, "{guest_name}");
        test.host.remove(guest_name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_drawings_under_way_are_on_the_scripts_account() {
    let test = TestHost::start().await;
    test.host.install(guest("script-fan-out")).await.unwrap();
    let side = 4096;
    let data = vec![0; side as usize * side as usize];
    let picture = Pixels::new(side, side, PixelFormat::Gray8, data).unwrap();
    let jobs = Arc::new(Jobs::default());
    // The account holds 128 MiB: the script's own 16 and those of six drawings. A seventh lacks room for its parameters.
    let Err(ScriptError::Refused(reason)) = script(&test, &jobs, vec![picture]).await else { panic!() };
    assert!(reason.contains("may take 134217728 bytes"), "{reason}");
    assert_eq!(jobs.begun.load(Ordering::Relaxed), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_bomb_is_cut_counted_and_escaped() {
    let test = TestHost::start().await;
    let id = test.host.install(guest("log-bomb")).await.unwrap().id;
    assert_eq!(test.before("a hill").await.unwrap(), "logged");
    let lines = test.host.logs(&id);
    assert!(lines.len() <= 101, "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.text.len() <= 1024 + '…'.len_utf8()));
    assert!(lines.iter().all(|line| !line.text.chars().any(char::is_control)));
    assert!(lines.iter().any(|line| line.text.contains("\\u{1b}[2J")));
    assert!(lines.last().unwrap().text.contains("more lines of this call were dropped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_finds_no_file_and_no_environment() {
    let test = TestHost::start().await;
    test.host.install(guest("fs-escape")).await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "contained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_giant_header_does_not_reach_the_client() {
    let test = TestHost::start().await;
    test.host.install(guest("http-giant-header")).await.unwrap();
    let request = http::Request::get("/").body(bytes::Bytes::new()).unwrap();
    match test.host.handle_http(&CallContext::new("test", 7), "http-giant-header", request).await {
        Ok(response) => assert!(response.headers().values().all(|value| value.len() < 64 << 10)),
        Err(error) => assert!(matches!(error, HookError::PluginFailed { .. }), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_a_sleeper_and_a_loop_at_once() {
    let test = TestHost::with(|settings| settings.budgets.hook.cpu = Duration::from_secs(60)).await;
    for case in ["sleep-forever", "cpu-loop"] {
        let id = test.host.install(guest(case)).await.unwrap().id;
        let context = CallContext::new("test", 7);
        let flag = context.cancelled.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            flag.store(true, Ordering::Relaxed);
        });
        let started = Instant::now();
        let error = test.host.before(&context, "{}".to_owned()).await.unwrap_err();
        assert_eq!(error, HookError::Cancelled);
        assert!(started.elapsed() < Duration::from_secs(3), "{case} took {:?}", started.elapsed());
        assert_eq!(test.host.get(&id).unwrap().failures, 0);
        test.host.remove(&id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_house_answers_overloaded_and_recovers() {
    let test = TestHost::with(|settings| settings.max_concurrent_calls = 1).await;
    test.host.install(guest("sleep-forever")).await.unwrap();
    let calls: Vec<_> = (0..18)
        .map(|_| {
            let host = test.host.clone();
            let context = CallContext::new("test", 7);
            let flag = context.cancelled.clone();
            let call = tokio::spawn(async move { host.before(&context, "{}".to_owned()).await.unwrap_err() });
            (call, flag)
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (_, flag) in &calls {
        flag.store(true, Ordering::Relaxed);
    }
    let mut overloaded = 0;
    for (call, _) in calls {
        match call.await.unwrap() {
            HookError::Overloaded => overloaded += 1,
            error => assert_eq!(error, HookError::Cancelled),
        }
    }
    assert!(overloaded >= 1, "nobody was turned away");
    test.host.remove("sleep-forever").await.unwrap();
    test.host.install(plugin("hello-api")).await.unwrap();
    assert_eq!(test.get("hello-api", "/api/hello").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_plugin_that_may_be_skipped_is_skipped() {
    let test = TestHost::start().await;
    let id = test.host.install(guest("panic")).await.unwrap().id;
    test.host.install(guest("good-v1")).await.unwrap();
    assert!(test.before("a hill").await.is_err());
    let skip = Policy { on_failure: Some(OnFailure::Skip.into()), ..Policy::default() };
    test.host.configure(&id, skip).await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
    assert_eq!(test.host.get(&id).unwrap().failures, 2);
}

#[test]
fn every_guest_has_a_test() {
    // Those that misbehave in several ways are in misbehaving.rs. The server's to withstand are in tests/http, controlnet.rs,
    // inputs.rs and picture_stages.rs, and in tests/plugins, events.rs, steps.rs and stores.rs.
    let others = [
        "annotator-tells",
        "good-v1",
        "good-v2",
        "several-worlds",
        "log-bomb",
        "fs-escape",
        "http-giant-header",
        "script-leaves-jobs",
        "finish-misbehaves",
        "finish-stages",
        "http-misbehaves",
        "names-picture",
        "tells-environment",
        "events-misbehave",
        "step-misbehaves",
        "store-flood",
    ];
    let folder = repository().join("tests/components");
    for case in std::fs::read_dir(folder).unwrap() {
        let path = case.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.join("Cargo.toml").exists() || path.join("expect.txt").exists() {
            assert!(
                CASES.contains(&name.as_str()) || others.contains(&name.as_str()),
                "{name} has no test: add a line to cases! in hostile.rs"
            );
        }
    }
}
