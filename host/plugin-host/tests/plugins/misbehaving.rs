//! Guests that misbehave in several ways, and a host that fails on a guest's behalf: each costs its own picture or request.

use crate::hostile::Jobs;
use crate::neighbours::Neighbours;
use crate::support::{TestHost, guest};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin_host::FailureKind::{self, BadReturn, Cpu, Handles, Host, Memory, Trap, WallClock};
use gesso_plugin_host::{
    ActingPlugin, CallContext, Called, ChainReport, DrawingBudget, DrawnPicture, FinishedPicture, HookError,
    Inference, InferenceAnswer, Job, Named, OnFailure, Outcome, PictureFacts, PictureStage, Policy,
    ScriptError, ScriptInput,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FINISHER: &str = "finish-misbehaves";
const HTTP: &str = "http-misbehaves";
/// Longer than the wall clock of an HTTP extension, and a busy machine.
const CALL_MAX: Duration = Duration::from_secs(8);

fn picture() -> Pixels {
    Pixels::new(8, 8, PixelFormat::Rgb8, vec![9; 192]).unwrap()
}

/// A picture for the guest, which does what the prompt says.
fn drawn(prompt: &str) -> DrawnPicture {
    let about = PictureFacts {
        place: 0,
        count: 1,
        stage: PictureStage::Composited,
        prompt: prompt.into(),
        negative_prompt: String::new(),
        seed: 7,
        subseed: 7,
        infotext: String::new(),
    };
    DrawnPicture { about, picture: picture(), source: None }
}

/// The picture as the guest leaves it.
async fn finished(test: &TestHost, prompt: &str) -> Result<FinishedPicture, HookError> {
    let (call, jobs) = (CallContext::new("test", 7), Arc::<Jobs>::default());
    test.host.finish_picture(&call, "{}", drawn(prompt), jobs, |text, _| text.to_owned()).await
}

/// That it failed for that reason, with that in its sentence.
#[track_caller]
fn assert_failed<T>(how: &str, ended: Result<T, HookError>, (kind, says): (FailureKind, &str)) {
    let Err(error) = ended else { panic!("{how} was taken") };
    println!("{how}: {error}");
    let HookError::PluginFailed { reason, message, .. } = &error else { panic!("{how} ended as {error:?}") };
    assert_eq!(*reason, kind, "{how}: {message}");
    assert!(message.contains(says), "{how}: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_hook_that_misbehaves_costs_its_own_picture() {
    let test = TestHost::start().await;
    let neighbours = Neighbours::start(&test).await;
    test.host.install(guest(FINISHER)).await.unwrap();
    let fails = [
        ("loops", Cpu, "processor time"),
        ("takes memory", Memory, "memory"),
        ("panics", Trap, "on purpose"),
        ("draws without waiting", Handles, "handles"),
        ("hoards pictures", Handles, "handles"),
        ("floods fields", BadReturn, ""),
        ("forges fields", BadReturn, "it added the field"),
    ];
    for (how, kind, says) in fails {
        let started = Instant::now();
        assert_failed(how, finished(&test, how).await, (kind, says));
        assert!(started.elapsed() < CALL_MAX, "{how} took {:?}", started.elapsed());
    }
    let status = test.host.get(FINISHER).unwrap();
    assert_eq!(status.failures, fails.len() as u64);
    assert!(status.memory_peak_bytes <= 64 << 20, "{} bytes", status.memory_peak_bytes);

    // Who asks for too much hears of it, as the client does whose request it is.
    for (how, says) in [
        ("gives nothing back", "is not within"),
        ("gives far too much back", "pictures may take"),
        (
            "resizes far too large",
            "a resize of 8x8 to 16384x16384 is too much at once: it may read and write 33554432 pixels",
        ),
    ] {
        let ended = finished(&test, how).await;
        let Err(HookError::Rejected { reason, .. }) = &ended else { panic!("{how} ended as {ended:?}") };
        assert!(reason.contains(says), "{how}: {reason}");
    }
    let point = finished(&test, "gives a point back").await.unwrap().picture;
    assert_eq!((point.width, point.height, point.data.len()), (1, 1, 1));
    assert_eq!(finished(&test, "a hill").await.unwrap().picture, picture());
    assert_eq!(test.host.get(FINISHER).unwrap().failures, fails.len() as u64);
    neighbours.were_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_hook_that_waits_for_nothing_ends_when_a_hook_would() {
    // Its own wall clock, for drawings, is 20 s.
    let test = TestHost::with(|settings| settings.budgets.hook.wall = Duration::from_secs(3)).await;
    let neighbours = Neighbours::start(&test).await;
    test.host.install(guest(FINISHER)).await.unwrap();
    for how in ["sleeps", "naps"] {
        let started = Instant::now();
        let ends = (WallClock, "waited for 3s in all while nothing was drawn");
        assert_failed(how, finished(&test, how).await, ends);
        assert!(started.elapsed() < CALL_MAX, "{how} took {:?}", started.elapsed());
    }
    neighbours.were_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_hooks_of_one_plugin_leave_a_slot_to_those_of_others() {
    const OTHER: &str = "finish-stages";
    // Of the four that there are.
    const SHARE: usize = 3;
    let test = TestHost::start().await;
    for id in [FINISHER, OTHER] {
        test.host.install(guest(id)).await.unwrap();
        let named = Policy { called: Some(Called::Named), ..Policy::default() };
        test.host.configure(id, named).await.unwrap();
    }
    let (jobs, cancelled) = (Arc::<Jobs>::default(), Arc::<AtomicBool>::default());
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let (host, jobs) = (test.host.clone(), jobs.clone());
            let call = CallContext {
                named: Named::new([FINISHER]),
                cancelled: cancelled.clone(),
                ..CallContext::new("test", 7)
            };
            tokio::spawn(async move {
                // For a drawing that never ends.
                let given = drawn("draws without end");
                host.finish_picture(&call, "{}", given, jobs, |text, _| text.to_owned()).await
            })
        })
        .collect();
    test.wait_until("eight calls in its slots or waiting", |host| {
        host.get(FINISHER).unwrap().running == 8 && jobs.begun.load(Ordering::Relaxed) >= SHARE
    })
    .await;

    let call = CallContext { named: Named::new([OTHER]), ..CallContext::new("test", 7) };
    let other =
        test.host.finish_picture(&call, "{}", drawn("a hill"), jobs.clone(), |text, _| text.to_owned());
    let served = tokio::time::timeout(Duration::from_secs(10), other).await;
    assert!(matches!(served, Ok(Ok(_))), "{served:?}");
    assert_eq!(jobs.begun.load(Ordering::Relaxed), SHARE);
    cancelled.store(true, Ordering::Relaxed);
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap_err(), HookError::Cancelled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_too_large_is_not_taken_and_who_is_left_out_is_told() {
    let test = TestHost::with(|settings| settings.budgets.script.picture_pixels = 16).await;
    test.host.install(guest(FINISHER)).await.unwrap();
    // The picture that it was given has 64.
    let says = "it gave back a picture of 9x9; at most 64 pixels are taken";
    assert_failed("gives more back", finished(&test, "gives more back").await, (BadReturn, says));
    let same = finished(&test, "a hill").await.unwrap();
    assert_eq!((same.picture, same.report), (picture(), ChainReport::default()));
    let acted = finished(&test, "gives a point back").await.unwrap().report.acted;
    assert_eq!(acted, [ActingPlugin { id: FINISHER.into(), version: "0.1.0".into() }]);

    let policy = Policy { on_failure: Some(OnFailure::Skip.into()), ..Policy::default() };
    test.host.configure(FINISHER, policy).await.unwrap();
    let skipped = finished(&test, "gives more back").await.unwrap();
    assert_eq!((skipped.picture, skipped.report.acted), (picture(), vec![]));
    let said = format!("{FINISHER} was left out: plugin {FINISHER} failed in finish: {says}");
    assert_eq!(skipped.report.warnings, [said]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_extension_that_misbehaves_costs_its_own_request() {
    let test = TestHost::start().await;
    let neighbours = Neighbours::start(&test).await;
    test.host.install(guest(HTTP)).await.unwrap();
    let fails = [
        ("/twice", BadReturn, "handle index"),
        // An answer that has come whole is none while the guest goes on.
        ("/goes-on", Cpu, "processor time"),
        ("/sleeps-on", WallClock, "no result within"),
        ("/switches", BadReturn, "101, which is no status"),
        ("/breaks-off", BadReturn, "broke off"),
        ("/flood", BadReturn, "exceeds limit"),
    ];
    for (path, kind, says) in fails {
        let started = Instant::now();
        assert_failed(path, test.get(HTTP, path).await, (kind, says));
        assert!(started.elapsed() < CALL_MAX, "{path} took {:?}", started.elapsed());
    }
    assert_eq!(test.host.get(HTTP).unwrap().failures, fails.len() as u64);

    let answer = async |path: &str| {
        let request = http::Request::get(path).body(bytes::Bytes::new()).unwrap();
        test.host.handle_http(&CallContext::new("test", 7), HTTP, request).await.unwrap()
    };
    // How long an answer is says the server, which has counted: another length would have the client wait for more.
    let short = answer("/lies").await;
    assert_eq!(
        (short.headers().get(http::header::CONTENT_LENGTH), short.body().as_ref()),
        (None, &b"abc"[..])
    );
    assert_eq!(answer("/").await.body().as_ref(), b"well");
    neighbours.were_served().await;
}

/// Fails as host code must not.
struct Panics;

impl Inference for Panics {
    fn for_plugin(self: Arc<Self>, _: &str, _: DrawingBudget) -> Arc<dyn Inference> {
        self
    }

    fn generate(&self, _: String, _: Vec<Pixels>, _: Option<Pixels>, _: Outcome) -> Job {
        panic!("in the host, on purpose")
    }

    fn upscale(&self, _: Pixels, _: String, _: f64) -> InferenceAnswer<Pixels> {
        panic!("in the host, on purpose")
    }

    fn interrogate(&self, _: Pixels, _: String) -> InferenceAnswer<String> {
        panic!("in the host, on purpose")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_host_under_a_guest_costs_that_call() {
    let test = TestHost::start().await;
    let neighbours = Neighbours::start(&test).await;
    test.host.install(guest("script-leaves-jobs")).await.unwrap();
    for _ in 0..20 {
        let input =
            ScriptInput { params: "{}".into(), arguments: "[]".into(), init_images: Vec::new(), mask: None };
        let call = CallContext::new("test", 7);
        match test.host.run_script(&call, "hostile", input, Arc::new(Panics)).await {
            Err(ScriptError::Hook(error)) => {
                assert_failed::<()>("panics", Err(error), (Host, "the host failed"))
            }
            other => panic!("{other:?}"),
        }
    }
    // Its slot, of which there are four, came back each time.
    assert_eq!(test.host.get("script-leaves-jobs").unwrap().failures, 20);
    neighbours.were_served().await;
}
