//! What is still known of a plugin that goes and comes back: its settings over a roll-back, its file after a change that could not
//! be stored, its record without a file, and what was counted.

use crate::handmade::Handmade;
use crate::lifecycle::COUNTS;
use crate::support::{TestHost, guest, plugin};
use gesso_plugin_host::{CallContext, Grants, InstallError, PluginState, Policy, TrailEvent};
use serde_json::{Value, json};
use std::time::Duration;

/// A request hook that changes nothing, whose settings have to be as `schema` says.
fn strict(version: &str, schema: &Value) -> Vec<u8> {
    Handmade::PLAIN
        .with(&json!({"id": "strict", "version": version, "api": "0.1.0", "worlds": ["request-hook"],
        "settings_schema": schema}))
}

/// The schema of settings that have this text, and nothing else.
fn only(name: &str) -> Value {
    json!({"type": "object", "additionalProperties": false, "required": [name],
        "properties": { name: {"type": "string"} }})
}

fn with(settings: Value) -> Grants {
    Grants { settings, ..Grants::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_comes_back_with_the_settings_that_it_had() {
    let test = TestHost::start().await;
    let (style, palette) = (json!({"style": "ink"}), json!({"palette": "warm"}));
    test.host.install(strict("1.0.0", &only("style"))).await.unwrap_err();
    test.host.set_grants("strict", with(style.clone())).await.unwrap();
    let waits = test.host.install(strict("2.0.0", &only("palette"))).await.unwrap_err();
    assert!(matches!(waits, InstallError::NeedsGrants { .. }), "{waits:?}");
    let grants = Grants { kv_bytes: 64, ..with(palette.clone()) };
    let second = test.host.set_grants("strict", grants).await.unwrap();
    assert_eq!((second.state, second.version.as_deref()), (PluginState::Active, Some("2.0.0")));

    // What a roll-back needs is stored.
    let test = test.restart().await;
    let back = test.host.rollback("strict").await.unwrap();
    assert_eq!((back.state, back.version.as_deref()), (PluginState::Active, Some("1.0.0")));
    let granted = |settings: &Value| Grants { kv_bytes: 64, ..with(settings.clone()) };
    assert_eq!(back.granted, granted(&style), "the other grants stay");
    let versions = test.host.settings_versions("strict").await.unwrap();
    let given: Vec<_> = versions.into_iter().map(|version| version.settings).collect();
    assert_eq!(given, [style.clone(), palette.clone(), style.clone()]);
    let details: Vec<_> = test.host.history("strict").into_iter().filter_map(|line| line.detail).collect();
    assert_eq!(details.last().unwrap(), "settings put back with version 1.0.0; 64 kv bytes, setting style");

    let forth = test.host.rollback("strict").await.unwrap();
    assert_eq!((forth.version.as_deref(), forth.granted), (Some("2.0.0"), granted(&palette)));
    let test = test.restart().await;
    assert_eq!(test.host.get("strict").unwrap().state, PluginState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_takes_other_settings_does_not_tell_those_that_stand() {
    let test = TestHost::start().await;
    let secret = "sk-51f0c2";
    test.host.install(strict("1.0.0", &json!({}))).await.unwrap();
    test.host.set_grants("strict", with(json!({"token": secret}))).await.unwrap();
    let schema = json!({"properties": {"token": {"type": "object"}}});
    let error = test.host.install(strict("2.0.0", &schema)).await.unwrap_err().to_string();
    let told = test.host.get("strict").unwrap().refused_update.unwrap();
    let trail = std::fs::read_to_string(test.home.path().join("state/trail.jsonl")).unwrap();
    for text in [error, told, trail] {
        assert!(text.contains("/token: ") && !text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_stored_leaves_the_folder_as_it_was() {
    let test = TestHost::start().await;
    test.host.install(guest("good-v1")).await.unwrap();
    test.host.install(guest("good-v2")).await.unwrap();
    // In the place of the file that becomes the registry.
    let state = test.home.path().join("state");
    let blocked = state.join(format!("registry.json.{}.tmp", std::process::id()));
    std::fs::create_dir(&blocked).unwrap();
    for changed in [
        test.host.install(guest("good-v1")).await.map(drop),
        test.host.install(guest("panic")).await.map(drop),
        test.host.install(plugin("dynamic-prompts")).await.map(drop),
        test.host.rollback("good").await.map(drop),
        test.host.remove("good").await,
    ] {
        assert!(matches!(changed, Err(InstallError::Storage { .. })), "{changed:?}");
    }
    let names: Vec<_> = std::fs::read_dir(test.home.path().join("plugins"))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(names, ["good.wasm"]);
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");
    std::fs::remove_dir(&blocked).unwrap();

    let test = test.restart().await;
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");
    assert_eq!(test.host.list().len(), 1);
    test.host.rollback("good").await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
}

#[tokio::test]
async fn a_plugin_whose_file_is_gone_can_be_forgotten_and_takes_no_place() {
    let test = TestHost::start().await;
    for build in ["good-v1", "panic", "fs-escape"] {
        test.host.install(guest(build)).await.unwrap();
    }
    let order = || test.host.list().into_iter().map(|status| status.id).collect::<Vec<_>>();
    let settings = with(json!({"token": "sk-51f0c2"}));
    test.host.set_grants("good", settings.clone()).await.unwrap();
    let file = test.file("good");
    let leave_and_come = async |comes: bool| {
        std::fs::remove_file(&file).unwrap();
        test.host.rescan().await;
        assert!(test.host.get("good").is_none());
        if comes {
            std::fs::write(&file, guest("good-v1")).unwrap();
            test.host.rescan().await;
        }
    };
    leave_and_come(true).await;
    assert_eq!(test.host.get("good").unwrap().granted, settings, "it may come back");
    leave_and_come(false).await;

    let last = Policy { position: Some(1), ..Policy::default() };
    assert_eq!(order(), ["panic", "fs-escape"]);
    assert_eq!(test.host.configure("fs-escape", last).await.unwrap().position, 1);
    assert_eq!(order(), ["panic", "fs-escape"]);

    test.host.remove("good").await.unwrap();
    assert!(matches!(test.host.remove("good").await, Err(InstallError::NotFound { .. })));
    let registry = std::fs::read_to_string(test.home.path().join("state/registry.json")).unwrap();
    assert!(!registry.contains("sk-51f0c2"));
    assert_eq!(test.host.install(guest("good-v1")).await.unwrap().granted, Grants::default());
    let trail = test.host.history("good");
    let events: Vec<_> = trail.iter().map(|line| line.event).collect();
    let (active, removed) = (TrailEvent::Active, TrailEvent::Removed);
    assert_eq!(events, [active, TrailEvent::Granted, removed, active, removed, removed, active]);
    assert!(trail[2].detail.as_deref().is_some_and(|detail| detail.contains("DELETE /plugins/good")));
    assert_eq!(trail[5].detail, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_go_on_when_a_plugin_comes_back() {
    let test = TestHost::start().await;
    let fails = Handmade { before: "(unreachable)", ..Handmade::PLAIN }.component("failing");
    let counted = || {
        let status = test.host.get("failing").unwrap();
        (status.calls, status.failures)
    };
    test.host.install(fails.clone()).await.unwrap();
    test.before("a hill").await.unwrap_err();
    assert_eq!(counted(), (1, 1));

    test.host.remove("failing").await.unwrap();
    let status = test.host.install(fails.clone()).await.unwrap();
    assert_eq!(counted(), (1, 1));
    assert_eq!(status.last_failure, None, "what it said is forgotten");
    test.before("a hill").await.unwrap_err();
    assert_eq!(counted(), (2, 2));

    std::fs::remove_file(test.file("failing")).unwrap();
    test.host.rescan().await;
    assert!(test.host.get("failing").is_none());
    std::fs::write(test.file("failing"), fails).unwrap();
    test.host.rescan().await;
    test.before("a hill").await.unwrap_err();
    assert_eq!(counted(), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_is_counted_when_its_plugin_comes_back() {
    let test = TestHost::with(|settings| {
        settings.budgets.hook.cpu = Duration::from_secs(30);
        settings.budgets.hook.wall = Duration::from_secs(60);
    })
    .await;
    let running = || test.host.get("counting").unwrap().running;
    test.host.install(COUNTS.component("counting")).await.unwrap();
    let host = test.host.clone();
    let call = tokio::spawn(async move { host.before(&CallContext::new("test", 7), "{}".into()).await });
    test.wait_until("its call", |_| running() == 1).await;
    test.host.remove("counting").await.unwrap();
    // Compiled already, which the call takes longer than.
    test.host.install(COUNTS.component("counting")).await.unwrap();
    assert_eq!(running(), 1);
    call.await.unwrap().unwrap();
    test.wait_until("its end", |_| running() == 0).await;
}
