//! Plugins that served and are not loaded any more, or not with the rights that they had: requests that count on them do not go on
//! without them, and drawings under way do not go on with them.

use crate::busy::{Agreeable, MOMENT};
use crate::handmade::Handmade;
use crate::support::{TestHost, example, folder_grant, guest};
use gesso_core::infotext::Infotext;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::step_hook::{StepHook, StepHookError};
use gesso_plugin_host::{
    Audience, CallContext, Called, FailureKind, Grants, Grid, HookError, HookWorld, Named, OnFailure,
    OnFailures, PictureStage, PluginState, PluginStepHook, Policy, SavedPicture, Whom,
};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A host after a restart, at which these plugins find a granted folder gone; and that folder.
async fn that_lost(plugins: &[(&str, Vec<u8>)]) -> (TestHost, PathBuf) {
    let test = TestHost::start().await;
    let marks = test.home.path().join("marks");
    std::fs::create_dir(&marks).unwrap();
    for (id, component) in plugins {
        test.host.install(component.clone()).await.unwrap();
        test.host.set_grants(id, folder_grant("marks", &marks)).await.unwrap();
    }
    std::fs::remove_dir(&marks).unwrap();
    (test.restart().await, marks)
}

/// What such a failure says.
fn not_loaded<T: std::fmt::Debug>(result: Result<T, HookError>) -> String {
    match result {
        Err(HookError::PluginFailed { reason: FailureKind::NotLoaded, message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

fn picture() -> Pixels {
    Pixels::new(8, 8, PixelFormat::Rgb8, vec![9; 192]).unwrap()
}

fn step_hook(test: &TestHost, title: &str, argument: serde_json::Value) -> Arc<PluginStepHook> {
    let scripts = json!({ title: { "args": [argument] } });
    let hooks = test.host.step_hooks(&CallContext::new("test", 7), scripts.as_object().unwrap()).unwrap();
    let [hook]: [_; 1] = hooks.try_into().unwrap_or_else(|_| panic!("there is one such hook"));
    hook
}

/// As on the device's thread, which waits for it.
async fn run(hook: &Arc<PluginStepHook>) -> Result<bool, StepHookError> {
    let hook = hook.clone();
    tokio::task::spawn_blocking(move || hook.run(&MOMENT, &mut Agreeable::default())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_count_on_a_plugin_fail_while_it_is_lost() {
    let (test, marks) = that_lost(&[("good", guest("good-v1"))]).await;
    assert!(matches!(test.host.get("good").unwrap().state, PluginState::Refused { .. }));
    let message = not_loaded(test.before("a hill").await);
    assert!(message.contains("it is not loaded: GET /plugins/good"), "{message}");
    let status = test.host.get("good").unwrap();
    assert_eq!((status.calls, status.failures, status.failures_by_reason["not-loaded"]), (1, 1, 1));
    assert!(status.last_failure.unwrap().contains("not loaded"));

    // For those alone for whom it would be called.
    let set = async |policy: Policy| test.host.configure("good", policy).await.unwrap();
    let before = async |call: CallContext| test.host.before(&call, "{}".into()).await;
    let call = || CallContext::new("test", 7);
    let ann = || CallContext { whom: Whom { name: "ann".into(), ..Whom::default() }, ..call() };
    let serves = Audience { users: vec!["ann".into()], ..Audience::default() };
    set(Policy { serves: Some(serves), ..Policy::default() }).await;
    assert!(before(call()).await.is_ok());
    not_loaded(before(ann()).await);
    let everybody = Some(Audience::default());
    set(Policy { serves: everybody, called: Some(Called::Named), ..Policy::default() }).await;
    assert!(before(call()).await.is_ok());
    not_loaded(before(CallContext { named: Named::new(["Good"]), ..call() }).await);

    // By what its failures cost at that hook.
    let skips = OnFailures::new(OnFailure::Fail, [(HookWorld::Before, OnFailure::Skip)]);
    set(Policy { called: Some(Called::Always), on_failure: Some(skips), ..Policy::default() }).await;
    let warnings = before(call()).await.unwrap().report.warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("good was left out"), "{warnings:?}");
    not_loaded(test.host.after(&call(), "{}", vec![picture()]).await);
    set(Policy { enabled: Some(false), ..Policy::default() }).await;
    assert!(test.host.after(&call(), "{}", vec![picture()]).await.is_ok());

    set(Policy { enabled: Some(true), ..Policy::default() }).await;
    std::fs::create_dir(&marks).unwrap();
    test.host.set_grants("good", folder_grant("marks", &marks)).await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_fails_at_every_hook_that_it_had() {
    let plugins = [
        ("events-misbehave", guest("events-misbehave")),
        ("finish-misbehaves", guest("finish-misbehaves")),
        ("example-step-hook", example("example-step-hook")),
    ];
    let (test, _) = that_lost(&plugins).await;
    let call = CallContext::new("test", 7);
    assert!(test.before("a hill").await.is_ok(), "none of them has it");
    assert!(test.host.reads_infotexts(&call));
    not_loaded(test.host.read_infotext(&call, "a hill", Infotext::default()).await);
    assert!(test.host.lays_out_grids(&call));
    let grid = Grid { pictures: vec![picture()], columns: 1, rows: 1 };
    not_loaded(test.host.lay_out_grid(&call, "{}", grid).await);
    assert!(test.host.hears_of_saved_pictures(&call));
    let saved = SavedPicture {
        path: "a/b.png".into(),
        format: "png".into(),
        bytes: 3,
        infotext: String::new(),
        is_grid: false,
    };
    not_loaded(test.host.picture_saved(&call, "{}", &saved).await);
    assert!(test.host.finishes_pictures(&call, PictureStage::Composited));
    assert!(!test.host.finishes_pictures(&call, PictureStage::Decoded));
    let hook = step_hook(&test, "Guidance rescale", json!(0.5));
    let ran = run(&hook).await;
    assert!(matches!(&ran, Err(StepHookError::Failed(says)) if says.contains("not loaded")), "{ran:?}");
}

/// Takes a while to start.
const SLOW: Handmade = Handmade {
    more: "(func $count (local $n i32) (loop $on (local.set $n (i32.add (local.get $n) (i32.const 1))) \
           (br_if $on (i32.lt_u (local.get $n) (i32.const 2000000000))))) (start $count)",
    ..Handmade::PLAIN
};

#[tokio::test(flavor = "multi_thread")]
async fn while_a_plugin_is_loaded_without_a_right_requests_do_not_go_on_without_it() {
    let test = TestHost::with(|settings| {
        settings.budgets.hook.cpu = Duration::from_secs(30);
        settings.budgets.hook.wall = Duration::from_secs(60);
        settings.grants = [("slow".to_owned(), Grants { kv_bytes: 64, ..Grants::default() })].into();
    })
    .await;
    test.host.install(SLOW.component("slow")).await.unwrap();
    let host = test.host.clone();
    let granting = tokio::spawn(async move { host.set_grants("slow", Grants::default()).await });
    test.wait_until("its load", |host| host.get("slow").unwrap().state != PluginState::Active).await;
    let message = not_loaded(test.before("a hill").await);
    assert!(message.contains("send the request again in a moment"), "{message}");
    assert_eq!(granting.await.unwrap().unwrap().state, PluginState::Active);
    assert_eq!(test.before("a hill").await.unwrap(), "a hill");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_goes_on_where_nothing_was_taken_away_and_neither_build_loads() {
    let manifest = |version: &str, setting: &str| {
        json!({
            "id": "mark", "version": version, "api": "0.1.0", "worlds": ["request-hook"],
            "settings_schema": {
                "type": "object", "additionalProperties": false,
                "properties": { setting: { "type": "string" } }, "required": [setting],
            },
        })
    };
    let with = |settings: serde_json::Value| Grants { settings, ..Grants::default() };
    let test = TestHost::with(|settings| {
        settings.grants = [("mark".to_owned(), with(json!({ "text": "a" })))].into();
    })
    .await;
    test.host.install(Handmade::PLAIN.with(&manifest("1.0.0", "text"))).await.unwrap();
    let traps = Handmade { more: "(func $trap (unreachable)) (start $trap)", ..Handmade::PLAIN };
    test.host.install(traps.with(&manifest("2.0.0", "words"))).await.unwrap_err();

    let status = test.host.set_grants("mark", with(json!({ "words": "a" }))).await.unwrap();
    assert!(status.refused_update.as_ref().is_some_and(|why| why.contains("does not start")), "{status:?}");
    assert_eq!((status.state, status.version.as_deref()), (PluginState::Active, Some("1.0.0")));
    assert_eq!(test.before("a hill").await.unwrap(), "a hill");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drawing_under_way_leaves_a_removed_step_hook_out() {
    let test = TestHost::start().await;
    for by_hand in [false, true] {
        test.host.install(example("example-step-hook")).await.unwrap();
        let hook = step_hook(&test, "Guidance rescale", json!(0.5));
        assert!(hook.wants(&MOMENT));
        if by_hand {
            std::fs::remove_file(test.file("example-step-hook")).unwrap();
            test.host.rescan().await;
        } else {
            test.host.remove("example-step-hook").await.unwrap();
        }
        assert!(!hook.wants(&MOMENT), "by hand: {by_hand}");
        // One that comes back is another's.
        test.host.install(example("example-step-hook")).await.unwrap();
        assert!(!hook.wants(&MOMENT) && step_hook(&test, "Guidance rescale", json!(0.5)).wants(&MOMENT));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drawing_under_way_has_no_right_that_was_taken_away_meanwhile() {
    let id = "step-misbehaves";
    let test = TestHost::with(|settings| {
        settings.grants = [(id.to_owned(), Grants { read_tensors: true, ..Grants::default() })].into();
    })
    .await;
    test.host.install(guest(id)).await.unwrap();
    let hook = step_hook(&test, "Misbehave", json!("reads"));
    assert_eq!(run(&hook).await, Ok(true));
    let status = test.host.set_grants(id, Grants::default()).await.unwrap();
    assert_eq!(status.state, PluginState::Active);
    let ran = run(&hook).await;
    assert!(
        matches!(&ran, Err(StepHookError::Failed(says)) if says.contains("rights were taken")),
        "{ran:?}"
    );
    // The next drawing has the build without it.
    assert_eq!(run(&step_hook(&test, "Misbehave", json!("nothing"))).await, Ok(true));
}
