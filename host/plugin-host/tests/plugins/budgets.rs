//! What an admin says of one plugin alone: what its calls may spend, by grant and by tier, and what its failures cost.

use crate::handmade::Handmade;
use crate::support::{TestHost, guest};
use gesso_core::infotext::Infotext;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin_host::{
    CallBudget, CallContext, FailureKind, Grants, Grid, HookError, HookWorld, InstallError, OnFailure,
    OnFailures, PluginBudgets, PluginState, Policy,
};

const BOMB: &str = "memory-bomb";
const EVENTS: &str = "events-misbehave";

/// Budgets of hooks.
fn hooks(cpu_ms: Option<u64>, memory_mib: Option<u64>) -> PluginBudgets {
    let hook = CallBudget { cpu_ms, memory_mib, ..CallBudget::default() };
    PluginBudgets { hook, ..PluginBudgets::default() }
}

fn granted(budgets: PluginBudgets, tier: Option<&str>) -> Grants {
    Grants { budgets, tier: tier.map(str::to_owned), ..Grants::default() }
}

/// How the call of `before` failed that must.
async fn failure(test: &TestHost) -> (FailureKind, String) {
    match test.before("a hill").await {
        Err(HookError::PluginFailed { reason, message, .. }) => (reason, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_held_to_budgets_of_its_own_and_others_to_the_hosts() {
    let test = TestHost::start().await;
    test.host.install(guest(BOMB)).await.unwrap();
    assert_eq!(
        failure(&test).await,
        (FailureKind::Memory, "it asked for more than its 64 MiB of memory".into())
    );
    for mib in [16, 160] {
        let budgets = hooks(Some(20_000), Some(mib));
        let status = test.host.set_grants(BOMB, granted(budgets, None)).await.unwrap();
        assert_eq!(status.granted.budgets, budgets);
        let held_to = status.budgets.unwrap();
        assert_eq!((held_to.hook.cpu_ms, held_to.hook.memory_mib), (Some(20_000), Some(mib)));
        assert_eq!(
            (held_to.hook.wall_ms, held_to.script.memory_mib),
            (Some(6_000), Some(64)),
            "as the host's"
        );
        let (kind, says) = failure(&test).await;
        assert_eq!(kind, FailureKind::Memory);
        assert!(says.contains(&format!("its {mib} MiB")), "{says}");
    }
    let peak = test.host.get(BOMB).unwrap().memory_peak_bytes;
    assert!((100 << 20..=160 << 20).contains(&peak), "{peak} bytes: the pool has room for what is granted");

    let test = test.restart().await;
    assert_eq!(test.host.get(BOMB).unwrap().budgets.unwrap().hook.memory_mib, Some(160));
    test.host.set_grants(BOMB, Grants::default()).await.unwrap();
    assert!(failure(&test).await.1.contains("its 64 MiB"));
    test.host.remove(BOMB).await.unwrap();

    let other = test.host.install(guest("good-v1")).await.unwrap();
    assert_eq!(other.budgets.unwrap().hook.cpu_ms, Some(400));
    let looping = test.host.install(guest("cpu-loop")).await.unwrap().id;
    test.host.set_grants(&looping, granted(hooks(Some(50), None), None)).await.unwrap();
    assert_eq!(failure(&test).await, (FailureKind::Cpu, "it used up its 50ms of processor time".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_is_shared_and_the_grants_own_figures_win_over_it() {
    let tiers = [("small".to_owned(), hooks(Some(20_000), Some(16)))];
    let test = TestHost::with(|settings| settings.tiers = tiers.into()).await;
    test.host.install(guest(BOMB)).await.unwrap();
    let small = test.host.set_grants(BOMB, granted(PluginBudgets::default(), Some("small"))).await.unwrap();
    assert_eq!(small.granted.budgets, PluginBudgets::default(), "a grant is shown as it was given");
    assert!(failure(&test).await.1.contains("its 16 MiB"));
    test.host.set_grants(BOMB, granted(hooks(None, Some(24)), Some("small"))).await.unwrap();
    assert!(failure(&test).await.1.contains("its 24 MiB"));

    let wrong = [
        (
            granted(PluginBudgets::default(), Some("large")),
            "tier is \"large\"; the settings' plugin_tiers have small",
        ),
        (granted(hooks(Some(0), None), None), "budgets.hook.cpu_ms is 0; it must be between 1 and 3600000"),
    ];
    for (grants, says) in wrong {
        let error = test.host.set_grants(BOMB, grants).await.unwrap_err();
        assert!(matches!(error, InstallError::Refused { .. }) && error.to_string().contains(says), "{error}");
    }
    assert!(failure(&test).await.1.contains("its 24 MiB"), "what is refused changes nothing");
    let told = test.host.history(BOMB).pop().unwrap().detail.unwrap();
    assert_eq!(told, "tier small, hook.memory_mib 24");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_tier_is_gone_waits_for_another() {
    let test = TestHost::with(|settings| {
        settings.grants = [("good".to_owned(), granted(PluginBudgets::default(), Some("gone")))].into();
    })
    .await;
    let error = test.host.install(guest("good-v1")).await.unwrap_err();
    assert!(matches!(error, InstallError::NeedsGrants { .. }), "{error:?}");
    assert!(error.to_string().contains("in its grants tier is \"gone\""), "{error}");
    assert_eq!(test.host.get("good").unwrap().budgets, None);
    let status = test.host.set_grants("good", Grants::default()).await.unwrap();
    assert_eq!(status.state, PluginState::Active);
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_too_large_is_in_no_grid() {
    let test = TestHost::with(|settings| settings.budgets.hook.picture_pixels = 16).await;
    test.host.install(guest(EVENTS)).await.unwrap();
    let settings = serde_json::json!({"place": "on-grid", "how": "magnifies"});
    test.host.set_grants(EVENTS, Grants { settings, ..Grants::default() }).await.unwrap();
    // It has 64, which may come back.
    let picture = Pixels::new(8, 8, PixelFormat::Rgb8, vec![9; 192]).unwrap();
    let grid = Grid { pictures: vec![picture], columns: 1, rows: 1 };
    match test.host.lay_out_grid(&CallContext::new("test", 7), "{}", grid).await {
        Err(HookError::PluginFailed { reason, message, .. }) => assert_eq!(
            (reason, message.as_str()),
            (FailureKind::BadReturn, "it gave back a picture of 9x9; at most 64 pixels are taken")
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failure_costs_is_said_by_world() {
    let test = TestHost::start().await;
    test.host.install(guest(EVENTS)).await.unwrap();
    let misbehaves = async |place: &str| {
        let settings = serde_json::json!({"place": place, "how": "panics"});
        test.host.set_grants(EVENTS, Grants { settings, ..Grants::default() }).await.unwrap();
    };
    let on_failure = async |on_failure: OnFailures| {
        let policy = Policy { on_failure: Some(on_failure.clone()), ..Policy::default() };
        assert_eq!(test.host.configure(EVENTS, policy).await.unwrap().on_failure, on_failure);
    };
    let call = CallContext::new("test", 7);
    let grid = || {
        let picture = Pixels::new(8, 8, PixelFormat::Rgb8, vec![9; 192]).unwrap();
        Grid { pictures: vec![picture], columns: 1, rows: 1 }
    };
    let reads = async || test.host.read_infotext(&call, "a hill", Infotext::default()).await.is_ok();
    let lays_out = async || test.host.lay_out_grid(&call, "{}", grid()).await.is_ok();

    on_failure(OnFailures::new(OnFailure::Fail, [(HookWorld::Infotext, OnFailure::Skip)])).await;
    misbehaves("on-infotext").await;
    assert!(reads().await && lays_out().await);
    misbehaves("on-grid").await;
    assert!(reads().await && !lays_out().await);
    on_failure(OnFailures::new(OnFailure::Skip, [(HookWorld::Infotext, OnFailure::Fail)])).await;
    assert!(lays_out().await, "worlds that are not named are as the rest");
    misbehaves("on-infotext").await;
    assert!(!reads().await);
    assert_eq!(test.host.get(EVENTS).unwrap().failures, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failure_costs_is_said_by_hook_where_a_world_has_two() {
    let test = TestHost::start().await;
    let fails = Handmade { before: "(unreachable)", after: "(unreachable)", ..Handmade::PLAIN };
    test.host.install(fails.component("handmade")).await.unwrap();
    let picture = || Pixels::new(8, 8, PixelFormat::Rgb8, vec![9; 192]).unwrap();
    for (skipped, ends) in [(HookWorld::Before, "after"), (HookWorld::After, "before")] {
        let on_failure = OnFailures::new(OnFailure::Fail, [(skipped, OnFailure::Skip)]);
        let policy = Policy { on_failure: Some(on_failure), ..Policy::default() };
        test.host.configure("handmade", policy).await.unwrap();
        let before = test.before("a hill").await.is_err();
        let after = test.host.after(&CallContext::new("test", 7), "{}", vec![picture()]).await.is_err();
        assert_eq!((before, after), (ends == "before", ends == "after"));
    }
}
