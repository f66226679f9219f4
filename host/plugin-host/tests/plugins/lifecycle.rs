//! How plugins come, change, return and go: by API, by hand in the folder, and over a restart.

use crate::handmade::Handmade;
use crate::support::{TestHost, example, folder_grant, guest, plugin};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin_host::{
    Audience, CallContext, Grants, HookError, HostSettings, InstallError, Named, PluginState, Policy,
    TrailEvent, Whom,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn one_plugin_may_be_of_several_worlds() {
    let test = TestHost::start().await;
    let installed = test.host.install(guest("several-worlds")).await.unwrap();
    assert_eq!(installed.state, PluginState::Active);
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, of several worlds");
    assert_eq!(test.host.scripts(&Whom::default())[0].title, "Once");
    let fetched = test.host.fetch(&CallContext::new("test", 1), "several", "several:a").await.unwrap();
    assert_eq!(fetched, b"several:a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_the_manifest_leaves_out_is_not_called() {
    let test = TestHost::start().await;
    test.host.install(guest("several-worlds")).await.unwrap();
    test.host.install(guest("good-v1")).await.unwrap();
    test.before("a hill").await.unwrap();
    let picture = Pixels { width: 1, height: 1, format: PixelFormat::Gray8, data: vec![7] };
    let call = CallContext::new("test", 1);
    let after = test.host.after(&call, "{}", vec![picture.clone()]).await.unwrap();
    assert_eq!(after.pictures[0].picture, picture);
    let calls = |id: &str| test.host.get(id).unwrap().calls;
    assert_eq!((calls("several-worlds"), calls("good")), (1, 2), "one names `before` alone, one names none");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_plugin_serves_swaps_and_rolls_back() {
    let test = TestHost::start().await;
    let first = test.host.install(guest("good-v1")).await.unwrap();
    assert_eq!(first.state, PluginState::Active);
    assert!(test.file("good").exists());
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
    assert!(matches!(test.host.rollback("good").await, Err(InstallError::NoPrevious { .. })));

    let second = test.host.install(guest("good-v2")).await.unwrap();
    assert_ne!(first.digest, second.digest);
    assert_eq!(second.previous.unwrap().digest, first.digest.clone().unwrap());
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");

    let back = test.host.rollback("good").await.unwrap();
    assert_eq!(back.digest, first.digest);
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
    assert_eq!(std::fs::read(test.file("good")).unwrap(), guest("good-v1"));
    test.host.rollback("good").await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_build_leaves_the_old_one_serving_and_says_so() {
    let test = TestHost::start().await;
    test.host.install(guest("good-v1")).await.unwrap();
    let error = test.host.install(guest("good-broken")).await.unwrap_err();
    assert!(error.to_string().contains("does not start"), "{error}");
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
    let status = test.host.get("good").unwrap();
    assert_eq!(status.state, PluginState::Active);
    assert!(status.refused_update.unwrap().contains("does not start"));
    assert_eq!(std::fs::read(test.file("good")).unwrap(), guest("good-v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_followed_when_a_file_appears_changes_breaks_and_goes() {
    let test = TestHost::start().await;
    assert!(test.host.list().is_empty());
    let version = |number: &'static str| {
        move |host: &gesso_plugin_host::PluginHost| {
            host.get("good").is_some_and(|status| status.version.as_deref() == Some(number))
        }
    };
    std::fs::write(test.file("good"), guest("good-v1")).unwrap();
    test.wait_until("good v1", version("0.1.0")).await;
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");

    std::fs::write(test.file("good"), guest("good-v2")).unwrap();
    test.wait_until("good v2", version("0.2.0")).await;
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");

    std::fs::write(test.file("good"), &guest("good-v1")[..5000]).unwrap();
    let refused = |host: &gesso_plugin_host::PluginHost| host.get("good").unwrap().refused_update.is_some();
    test.wait_until("a refusal", refused).await;
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");

    std::fs::write(test.file("other"), guest("good-v1")).unwrap();
    test.wait_until("a misnamed file", |host| host.get("other").is_some()).await;
    let PluginState::Refused { reason } = test.host.get("other").unwrap().state else {
        panic!("it is active")
    };
    assert!(reason.contains("rename the file to good.wasm"), "{reason}");

    std::fs::remove_file(test.file("good")).unwrap();
    test.wait_until("its end", |host| host.get("good").is_none()).await;
    assert_eq!(test.before("a hill").await.unwrap(), "a hill");
}

/// Counts for seconds, longer than a roll-back waits for the disk, and changes nothing.
pub(crate) const COUNTS: Handmade = Handmade {
    before: "(local $n i32) (loop $on (local.set $n (i32.add (local.get $n) (i32.const 1))) \
             (br_if $on (i32.lt_u (local.get $n) (i32.const 4000000000)))) (i32.const 16)",
    ..Handmade::PLAIN
};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_ends_well_after_its_plugin_was_removed_or_replaced() {
    let test = TestHost::with(|settings| {
        settings.budgets.hook.cpu = Duration::from_secs(30);
        settings.budgets.hook.wall = Duration::from_secs(60);
    })
    .await;
    let begin = || {
        let host = test.host.clone();
        tokio::spawn(async move { host.before(&CallContext::new("test", 7), "{}".into()).await })
    };
    let runs = async || {
        test.wait_until("its call", |host| host.get("counting").is_some_and(|status| status.running == 1))
            .await;
    };
    test.host.install(COUNTS.component("counting")).await.unwrap();
    let call = begin();
    runs().await;
    test.host.remove("counting").await.unwrap();
    assert!(test.host.get("counting").is_none());
    assert_eq!(call.await.unwrap().unwrap().params, "{}");

    // Another build serves before the call on this one has ended. It is compiled already, which takes longer.
    let fails = Handmade { before: "(unreachable)", ..Handmade::PLAIN };
    test.host.install(fails.component("counting")).await.unwrap();
    test.host.install(COUNTS.component("counting")).await.unwrap();
    let call = begin();
    runs().await;
    test.host.rollback("counting").await.unwrap();
    assert_eq!(test.host.get("counting").unwrap().running, 1, "it ended before it was replaced");
    let Err(HookError::PluginFailed { message, .. }) = test.before("a hill").await else { panic!() };
    assert!(message.contains("unreachable"), "{message}");
    assert_eq!(call.await.unwrap().unwrap().params, "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_versions_switches_and_a_good_build_behind_a_broken_file() {
    let test = TestHost::start().await;
    test.host.install(guest("good-v1")).await.unwrap();
    test.host.install(guest("good-v2")).await.unwrap();
    std::fs::write(test.file("good"), guest("good-broken")).unwrap();

    let started = Instant::now();
    let test = test.restart().await;
    println!("started in {:?}", started.elapsed());
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");
    assert!(test.host.get("good").unwrap().refused_update.unwrap().contains("does not start"));

    test.host.rollback("good").await.unwrap();
    let off = Policy { enabled: Some(false), ..Policy::default() };
    test.host.configure("good", off).await.unwrap();
    let test = test.restart().await;
    let status = test.host.get("good").unwrap();
    assert_eq!((status.state, status.version.as_deref()), (PluginState::Disabled, Some("0.1.0")));
    assert_eq!(test.before("a hill").await.unwrap(), "a hill");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_artifact_is_never_loaded() {
    let test = TestHost::start().await;
    test.host.install(guest("good-v1")).await.unwrap();
    let cache = test.home.path().join("state/cache");
    let artifacts =
        || -> Vec<_> { std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap().path()).collect() };
    let [artifact] = artifacts().try_into().unwrap();
    let good = std::fs::read(&artifact).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&artifact, bad).unwrap();
    let test = test.restart().await;
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
    assert_eq!(std::fs::read(&artifact).unwrap()[32..], good[32..], "it was not compiled again");
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&test.home.path().join("state")), 0o700);
    assert_eq!(mode(&test.home.path().join("state/artifact.key")), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_dies_or_is_not_there_is_a_refusal() {
    let test = TestHost::with(|settings| settings.compiler = vec!["/bin/false".into()]).await;
    let error = test.host.install(guest("good-v1")).await.unwrap_err().to_string();
    assert!(error.contains("compiling it ended with exit status: 1"), "{error}");
    assert!(test.host.list().is_empty());
    let test = TestHost::with(|settings| settings.compiler = vec!["/nowhere/compiler".into()]).await;
    let error = test.host.install(guest("good-v1")).await.unwrap_err().to_string();
    assert!(error.contains("the compile worker does not start"), "{error}");
}

/// Has these commands of the shell done before each compile.
pub(crate) fn compile_after(commands: &str, settings: &mut HostSettings) {
    let script = format!("{commands}; exec \"$0\" \"$@\"");
    let compiler = std::mem::take(&mut settings.compiler).into_iter();
    let shell = ["/bin/sh", "-c", script.as_str()].map(std::ffi::OsString::from);
    settings.compiler = shell.into_iter().chain(compiler).collect();
}

/// A command of the shell that waits for as long as this file is there, and a minute at most: who waits for that is told apart
/// from who does not.
pub(crate) fn hold(file: &Path) -> String {
    format!("n=0; while [ -e '{}' ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_that_takes_long_keeps_nobody_from_other_changes() {
    let folder = tempfile::tempdir().unwrap();
    let held = folder.path().join("held");
    let commands = format!("if [ -e '{0}' ]; then echo > '{0}'; {1}; fi", held.display(), hold(&held));
    let test = TestHost::with(|settings| compile_after(&commands, settings)).await;
    test.host.install(guest("panic")).await.unwrap();
    test.host.install(guest("good-v1")).await.unwrap();

    std::fs::write(&held, "").unwrap();
    let host = test.host.clone();
    let install = tokio::spawn(async move { host.install(guest("good-v2")).await });
    test.wait_until("the compile", |_| std::fs::metadata(&held).unwrap().len() > 0).await;
    let off = Policy { enabled: Some(false), ..Policy::default() };
    test.host.configure("panic", off).await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
    test.host.remove("panic").await.unwrap();
    assert!(!install.is_finished(), "it was waited for");
    std::fs::remove_file(&held).unwrap();
    install.await.unwrap().unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_its_grants_is_compiled_beside_other_changes_and_no_more_than_once() {
    let folder = tempfile::tempdir().unwrap();
    let [started, broken, held] = ["started", "broken", "held"].map(|name| folder.path().join(name));
    let commands =
        format!("echo >> '{}'; [ -e '{}' ] && exit 1; {}", started.display(), broken.display(), hold(&held));
    let compiles = || std::fs::read_to_string(&started).unwrap().lines().count();
    let test = TestHost::with(|settings| compile_after(&commands, settings)).await;
    let wildcards = test.home.path().join("wildcards");
    std::fs::create_dir(&wildcards).unwrap();
    std::fs::write(wildcards.join("colour.txt"), "red\n").unwrap();
    test.host.install(guest("panic")).await.unwrap();
    let waits = test.host.install(plugin("dynamic-prompts")).await.unwrap_err();
    assert!(matches!(waits, InstallError::NeedsGrants { .. }), "{waits:?}");

    assert_eq!(compiles(), 1);
    std::fs::write(&broken, "").unwrap();
    let grants = folder_grant("wildcards", &wildcards);
    let refused = test.host.set_grants("dynamic-prompts", grants.clone()).await.unwrap();
    let PluginState::Refused { reason } = &refused.state else { panic!("{:?}", refused.state) };
    assert!(reason.contains("compiling it ended with exit status: 1"), "{reason}");
    assert_eq!(compiles(), 2);

    std::fs::remove_file(&broken).unwrap();
    std::fs::write(&held, "").unwrap();
    let host = test.host.clone();
    let granting = tokio::spawn(async move { host.set_grants("dynamic-prompts", grants).await });
    test.wait_until("the compile", |_| compiles() == 3).await;
    test.host.remove("panic").await.unwrap();
    assert!(!granting.is_finished(), "it was waited for");
    std::fs::remove_file(&held).unwrap();
    assert_eq!(granting.await.unwrap().unwrap().state, PluginState::Active);
    assert_eq!(test.before("a __colour__ hill").await.unwrap(), "a red hill");
    assert_eq!(compiles(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_while_it_was_compiled_has_no_grants_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let [started, held] = ["started", "held"].map(|name| folder.path().join(name));
    let commands = format!("echo > '{}'; {}; exit 1", started.display(), hold(&held));
    let test = TestHost::with(|settings| compile_after(&commands, settings)).await;
    let wildcards = test.home.path().join("wildcards");
    std::fs::create_dir(&wildcards).unwrap();
    std::fs::write(&held, "").unwrap();
    test.host.install(plugin("dynamic-prompts")).await.unwrap_err();
    let host = test.host.clone();
    let grants = folder_grant("wildcards", &wildcards);
    let granting = tokio::spawn(async move { host.set_grants("dynamic-prompts", grants).await });
    test.wait_until("the compile", |_| started.exists()).await;

    test.host.remove("dynamic-prompts").await.unwrap();
    let waits = test.host.install(plugin("dynamic-prompts")).await.unwrap_err();
    let InstallError::NeedsGrants { reason, .. } = &waits else { panic!("{waits:?}") };
    std::fs::remove_file(&held).unwrap();
    let status = granting.await.unwrap().unwrap();
    assert_eq!(status.granted, Grants::default());
    let needs_grants = PluginState::Refused { reason: reason.clone() };
    assert_eq!(status.state, needs_grants, "not that it does not compile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_compiled_when_it_is_installed_and_never_on_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let test =
        TestHost::with(|settings| compile_after(&format!("echo >> '{}'", started.display()), settings)).await;
    let compiled = || std::fs::read_to_string(&started).unwrap().lines().count();
    for build in ["good-v1", "good-v2"] {
        test.host.install(guest(build)).await.unwrap();
    }
    assert_eq!(compiled(), 2);
    for _ in 0..20 {
        assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v2");
    }
    // Nor when a build that is known comes back, with other grants, or after a restart.
    test.host.rollback("good").await.unwrap();
    test.host.set_grants("good", Grants { kv_bytes: 64, ..Grants::default() }).await.unwrap();
    let test = test.restart().await;
    assert_eq!(test.before("a hill").await.unwrap(), "a hill, good v1");
    assert_eq!(compiled(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_waits_for_its_grant_and_stops_without_it() {
    let test = TestHost::start().await;
    let wildcards = test.home.path().join("wildcards");
    std::fs::create_dir(&wildcards).unwrap();
    std::fs::write(wildcards.join("colour.txt"), "red\n").unwrap();

    let error = test.host.install(plugin("dynamic-prompts")).await.unwrap_err();
    assert!(matches!(error, InstallError::NeedsGrants { .. }), "{error:?}");
    assert!(error.to_string().contains("folder `wildcards` (gesso:plugin/folders)"), "{error}");
    assert_eq!(test.before("a __colour__ hill").await.unwrap(), "a __colour__ hill");

    let missing = folder_grant("wildcards", &test.home.path().join("missing"));
    assert!(test.host.set_grants("dynamic-prompts", missing).await.is_err());
    let grant = folder_grant("wildcards", &wildcards);
    let status = test.host.set_grants("dynamic-prompts", grant).await.unwrap();
    assert_eq!(status.state, PluginState::Active);
    assert_eq!(test.before("a __colour__ hill").await.unwrap(), "a red hill");

    let test = test.restart().await;
    assert_eq!(test.before("a __colour__ hill").await.unwrap(), "a red hill");
    let status = test.host.set_grants("dynamic-prompts", Grants::default()).await.unwrap();
    assert!(matches!(status.state, PluginState::Refused { .. }), "{:?}", status.state);
    let failed = test.before("a __colour__ hill").await;
    assert!(matches!(failed, Err(HookError::PluginFailed { .. })), "requests count on it: {failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_in_the_order_the_admin_chose() {
    let test = TestHost::start().await;
    test.host.install(guest("good-v1")).await.unwrap();
    test.host.install(guest("fs-escape")).await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "contained");
    let first = Policy { position: Some(0), ..Policy::default() };
    test.host.configure("fs-escape", first).await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "contained, good v1");
    let test = test.restart().await;
    assert_eq!(test.before("a hill").await.unwrap(), "contained, good v1");
    let before = test.host.before(&CallContext::new("r", 1), r#"{"prompt":"x"}"#.into()).await.unwrap();
    let acted: Vec<_> = before.report.acted.iter().map(|plugin| plugin.id.as_str()).collect();
    assert_eq!(acted, ["fs-escape", "good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watermark_changes_one_corner_and_settings_reach_it() {
    let test = TestHost::start().await;
    test.host.install(plugin("watermark")).await.unwrap();
    let picture = Pixels::new(256, 256, PixelFormat::Rgb8, vec![40; 256 * 256 * 3]).unwrap();
    let context = CallContext::new("test", 7);
    let after = async || {
        test.host.after(&context, "{}", vec![picture.clone()]).await.unwrap().pictures.remove(0).picture
    };
    assert_eq!(after().await, picture);

    let settings = serde_json::json!({ "text": "gesso" });
    test.host.set_grants("watermark", Grants { settings, ..Grants::default() }).await.unwrap();
    let marked = after().await;
    assert_eq!((marked.width, marked.height, marked.format), (256, 256, PixelFormat::Rgb8));
    let row = 256 * 3;
    assert_eq!(marked.data[..128 * row], picture.data[..128 * row]);
    assert_ne!(marked.data[128 * row..], picture.data[128 * row..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_extension_answers_and_never_sees_credentials() {
    let test = TestHost::start().await;
    let status = test.host.install(plugin("hello-api")).await.unwrap();
    assert_eq!(status.route.as_deref(), Some("/ext/hello-api/"));
    let (code, body) = test.get("hello-api", "/api/hello?name=Ada").await.unwrap();
    assert_eq!(code, 200);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["greeting"], "Hello, Ada!");
    let echo = http::Request::post("/api/echo")
        .header("authorization", "Bearer secret")
        .header("content-type", "application/json")
        .body(bytes::Bytes::from_static(b"{\"a\":[1,2]}"))
        .unwrap();
    let call = CallContext::new("test", 7);
    let response = test.host.handle_http(&call, "hello-api", echo).await.unwrap();
    let echoed: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(echoed["echo"], serde_json::json!({ "a": [1, 2] }));
    let policies = response.headers().get_all("content-security-policy").iter().count();
    assert!(policies == 1, "its pages are from nowhere");
    let grants = Grants { own_origin: true, ..Grants::default() };
    test.host.set_grants("hello-api", grants).await.unwrap();
    let page = http::Request::get("/").body(bytes::Bytes::new()).unwrap();
    let page = test.host.handle_http(&call, "hello-api", page).await.unwrap();
    assert!(page.status() == 200 && !page.headers().contains_key("content-security-policy"));
    assert_eq!(test.get("hello-api", "/nowhere").await.unwrap().0, 404);
    assert!(matches!(test.get("nobody", "/").await, Err(HookError::NotFound { .. })));
    test.host.remove("hello-api").await.unwrap();
    assert!(!test.file("hello-api").exists());
    assert!(matches!(test.get("hello-api", "/").await, Err(HookError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_there_for_those_whom_it_serves_and_where_it_is_not_left_out() {
    let test = TestHost::start().await;
    test.host.install(guest("good-v1")).await.unwrap();
    let audience = Audience { users: vec!["ann".into()], ..Audience::default() };
    let policy = Policy { serves: Some(audience.clone()), ..Policy::default() };
    assert_eq!(test.host.configure("good", policy).await.unwrap().serves, audience);
    let whom = |name: &str, without: &[&str]| Whom {
        name: name.into(),
        without: Named::new(without.iter().copied()),
        ..Whom::default()
    };
    let test = test.restart().await;
    let applied = async |whom: Whom| {
        let call = CallContext { whom, ..CallContext::new("r", 1) };
        test.host.before(&call, r#"{"prompt":"x"}"#.into()).await.unwrap().report.acted.len()
    };
    assert_eq!((applied(whom("ann", &[])).await, applied(whom("bob", &[])).await), (1, 0));
    assert_eq!(
        (test.host.list_for(&whom("ann", &[])).len(), test.host.list_for(&whom("bob", &[])).len()),
        (1, 0)
    );
    assert_eq!(applied(whom("ann", &["GOOD"])).await, 1, "what the admin relies on is called");
    let policy = Policy { may_be_left_out: Some(true), ..Policy::default() };
    test.host.configure("good", policy).await.unwrap();
    assert_eq!((applied(whom("ann", &["GOOD"])).await, applied(whom("ann", &["other"])).await), (0, 1));
}

#[tokio::test]
async fn a_guest_has_the_environment_of_its_call_and_no_other() {
    let test = TestHost::start().await;
    test.host.install(guest("tells-environment")).await.unwrap();
    assert_eq!(test.before("sea").await.unwrap(), "sea; ", "nothing of the host's own");
    let environment =
        [("TONE", "warm"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let call =
        CallContext { environment: Arc::new(environment.into_iter().collect()), ..CallContext::new("r", 1) };
    let before = test.host.before(&call, r#"{"prompt":"sea"}"#.into()).await.unwrap();
    assert!(before.params.contains("sea; EMPTY= TONE=warm"), "{}", before.params);
    assert_eq!(test.before("sea").await.unwrap(), "sea; ", "the next call is another's");
}

#[tokio::test]
async fn settings_that_the_schema_refuses_change_nothing_and_every_change_leaves_a_trace() {
    let test = TestHost::start().await;
    test.host.install(example("example-request-hook")).await.unwrap();
    let with = |settings: serde_json::Value| Grants { settings, ..Grants::default() };
    test.host.set_grants("example-request-hook", with(serde_json::json!({"style": "ink"}))).await.unwrap();
    let wrong = with(serde_json::json!({"style": 7, "size": 1}));
    let error = test.host.set_grants("example-request-hook", wrong).await.unwrap_err().to_string();
    assert!(error.contains("/style: value is not of type") && error.contains("size"), "{error}");
    assert_eq!(test.before("sea").await.unwrap(), "sea, ink");
    let off = Policy { enabled: Some(false), ..Policy::default() };
    test.host.configure("example-request-hook", off).await.unwrap();
    assert_eq!(test.before("sea").await.unwrap(), "sea");
    test.host.remove("example-request-hook").await.unwrap();

    let trail = test.host.history("example-request-hook");
    let events: Vec<_> = trail.iter().map(|line| line.event).collect();
    assert_eq!(
        events,
        [TrailEvent::Active, TrailEvent::Granted, TrailEvent::Configured, TrailEvent::Removed]
    );
    assert_eq!(trail[0].version.as_deref(), Some("0.1.0"));
    assert_eq!(trail[1].detail.as_deref(), Some("setting style"), "a setting's value may be a secret");
    let test = test.restart().await;
    assert_eq!(test.host.history("example-request-hook"), trail);
}

#[tokio::test]
async fn settings_are_put_back_without_the_other_grants() {
    let test = TestHost::start().await;
    let id = "example-request-hook";
    test.host.install(example(id)).await.unwrap();
    let with = |style: &str, kv_bytes| Grants {
        settings: serde_json::json!({ "style": style }),
        kv_bytes,
        ..Grants::default()
    };
    test.host.asked_by("ann", "1").set_grants(id, with("ink", 0)).await.unwrap();
    test.host.asked_by("bob", "2").set_grants(id, with("chalk", 0)).await.unwrap();
    test.host.set_grants(id, with("chalk", 64)).await.unwrap();
    let versions = test.host.settings_versions(id).await.unwrap();
    let told: Vec<_> = versions.iter().map(|version| (version.number, version.by.as_deref())).collect();
    assert_eq!(told, [(1, Some("ann")), (2, Some("bob"))], "other grants are no other settings");
    assert!(versions.iter().all(|version| version.time_ms.is_some_and(|time| time > 0)));

    let test = test.restart().await;
    assert_eq!(test.before("sea").await.unwrap(), "sea, chalk");
    let status = test.host.asked_by("eve", "3").restore_settings(id, 1).await.unwrap();
    assert_eq!(status.granted, with("ink", 64));
    assert_eq!(test.before("sea").await.unwrap(), "sea, ink");
    let newest = test.host.settings_versions(id).await.unwrap().pop().unwrap();
    assert_eq!(
        (newest.number, newest.by.as_deref(), newest.settings),
        (3, Some("eve"), with("ink", 0).settings)
    );
    let trail = test.host.history(id).pop().unwrap();
    assert_eq!(trail.detail.unwrap(), "settings 1 put back; 64 kv bytes, setting style");
    assert_eq!((trail.by.unwrap(), trail.request_id.unwrap()), ("eve".into(), "3".into()));

    let missing = test.host.restore_settings(id, 9).await.unwrap_err();
    assert!(matches!(missing, InstallError::NoSettings { number: 9, .. }), "{missing:?}");
    assert!(matches!(test.host.settings_versions("nobody").await, Err(InstallError::NotFound { .. })));
    let long = with(&"x".repeat(300_000), 0);
    let refused = test.host.set_grants(id, long).await.unwrap_err().to_string();
    assert!(refused.contains("262144 are the most"), "{refused}");
    assert_eq!(test.before("sea").await.unwrap(), "sea, ink");
}

#[tokio::test]
async fn grants_that_the_registry_has_no_room_for_change_nothing() {
    let test = TestHost::start().await;
    test.host.install(guest("good-v1")).await.unwrap();
    let with = |settings: serde_json::Value| Grants { settings, ..Grants::default() };
    test.host.set_grants("good", with(serde_json::json!({"style": "ink"}))).await.unwrap();
    // Short as they are sent; the file has a line for each, as far in as they are deep.
    let deep =
        (0..100).fold(serde_json::json!(vec![1; 120_000]), |inner, _| serde_json::Value::Array(vec![inner]));
    let refused = test.host.set_grants("good", with(serde_json::json!({ "deep": deep }))).await.unwrap_err();
    assert!(matches!(refused, InstallError::TooLarge { .. }), "{refused}");
    assert_eq!(test.host.settings_versions("good").await.unwrap().len(), 1);
    // Nor do they keep others out.
    test.host.set_grants("good", with(serde_json::json!({"style": "chalk"}))).await.unwrap();
    let test = test.restart().await;
    assert_eq!(test.host.get("good").unwrap().granted, with(serde_json::json!({"style": "chalk"})));
}

#[tokio::test]
async fn calls_are_counted_and_timed() {
    let test = TestHost::start().await;
    test.host.install(guest("good-v1")).await.unwrap();
    assert_eq!(test.host.get("good").unwrap().wall_ms_p50, None);
    for _ in 0..20 {
        test.before("a hill").await.unwrap();
    }
    let status = test.host.get("good").unwrap();
    let (median, slow) = (status.wall_ms_p50.unwrap(), status.wall_ms_p95.unwrap());
    assert!(status.calls == 20 && median > 0.0 && median <= slow, "{median} {slow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_come_back_are_known_by_what_the_hook_was_lent() {
    let test = TestHost::start().await;
    test.host.install(guest("many-outputs")).await.unwrap();
    let call = CallContext::new("r", 1);
    for (prompt, expected) in [
        ("kept", vec![Some(0), Some(1), Some(2)]),
        ("without the first", vec![Some(1), Some(2)]),
        ("turned around", vec![Some(2), Some(1), Some(0)]),
        // Its handle is that of the one that was let go.
        ("another behind, without the first", vec![Some(1), Some(2), None]),
        ("all anew", vec![Some(0), Some(1), Some(2)]),
    ] {
        let params = serde_json::json!({ "prompt": prompt }).to_string();
        let pictures = [1, 2, 3].map(|level| Pixels::new(2, 1, PixelFormat::Gray8, vec![level; 2]).unwrap());
        let after = test.host.after(&call, &params, pictures.to_vec()).await.unwrap();
        let from: Vec<_> = after.pictures.iter().map(|picture| picture.from).collect();
        assert_eq!(from, expected, "{prompt}");
        for kept in after.pictures.iter().filter(|kept| kept.picture.format == PixelFormat::Gray8) {
            assert_eq!(Some(&kept.picture), kept.from.map(|from| &pictures[from]), "{prompt}");
        }
        let acted: Vec<_> = after.report.acted.iter().map(|plugin| plugin.version.as_str()).collect();
        assert_eq!(acted, if prompt == "kept" { vec![] } else { vec!["0.1.0"] }, "{prompt}");
    }
}
