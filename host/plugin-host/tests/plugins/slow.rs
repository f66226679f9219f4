//! Builds that take long to compile and starts that do not end: what changes beside them, and what they leave.

use crate::handmade::Handmade;
use crate::lifecycle::{compile_after, hold};
use crate::support::{TestHost, guest};
use gesso_plugin_host::{CallBudget, Grants, PluginBudgets, PluginState, Policy, TrailEvent};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Far below the day that was granted, and above what a busy machine takes to compile and to wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host whose compiles begin to wait where a file is there, once something is in it; and that file.
async fn with_held_compiles(folder: &Path) -> (TestHost, PathBuf) {
    let held = folder.join("held");
    let commands = format!("if [ -e '{0}' ]; then echo > '{0}'; {1}; fi", held.display(), hold(&held));
    (TestHost::with(|settings| compile_after(&commands, settings)).await, held)
}

async fn until_held(test: &TestHost, held: &Path) {
    test.wait_until("the compile", |_| std::fs::metadata(held).unwrap().len() > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_takes_long_to_compile_keeps_nobody_from_other_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (test, held) = with_held_compiles(folder.path()).await;
    test.host.install(guest("panic")).await.unwrap();
    std::fs::write(&held, "").unwrap();
    std::fs::write(test.file("good"), guest("good-v1")).unwrap();
    until_held(&test, &held).await;

    let off = Policy { enabled: Some(false), ..Policy::default() };
    let status = test.host.asked_by("ann", "1").configure("panic", off).await.unwrap();
    assert_eq!(status.state, PluginState::Disabled);
    assert!(test.host.get("good").is_none(), "it was waited for");
    std::fs::remove_file(&held).unwrap();
    test.wait_until("the new file", |host| host.get("good").is_some()).await;
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
    let by = |id: &str| test.host.history(id).pop().unwrap().by;
    assert_eq!(
        (by("panic").as_deref(), by("good")),
        (Some("ann"), None),
        "nobody asked for what was laid there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_removed_while_it_was_compiled_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (test, held) = with_held_compiles(folder.path()).await;
    test.host.install(guest("good-v1")).await.unwrap();
    std::fs::write(&held, "").unwrap();
    std::fs::write(test.file("good"), guest("good-v2")).unwrap();
    until_held(&test, &held).await;
    test.host.remove("good").await.unwrap();
    std::fs::remove_file(&held).unwrap();

    // The next look begins when the one that found the update has ended.
    std::fs::write(test.file("handmade"), Handmade::PLAIN.component("handmade")).unwrap();
    test.wait_until("another file", |host| host.get("handmade").is_some()).await;
    assert!(test.host.get("good").is_none());
    assert_eq!(test.host.history("good").pop().unwrap().event, TrailEvent::Removed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_does_not_end_has_the_servers_time_and_not_what_was_granted() {
    let hook = CallBudget { cpu_ms: Some(3_600_000), wall_ms: Some(86_400_000), memory_mib: None };
    let budgets = PluginBudgets { hook, ..PluginBudgets::default() };
    let test = TestHost::with(|settings| {
        settings.budgets.hook.wall = Duration::from_secs(2);
        settings.grants = [("start-loop".to_owned(), Grants { budgets, ..Grants::default() })].into();
    })
    .await;
    let install = test.host.install(guest("start-loop"));
    let Ok(refused) = tokio::time::timeout(PATIENCE, install).await else { panic!("it was waited for") };
    let reason = refused.unwrap_err().to_string();
    assert!(reason.contains("it does not start") && reason.contains("within 2s"), "{reason}");
}
