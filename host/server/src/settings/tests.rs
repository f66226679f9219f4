//! Layers, suggestions, defaults and secrets of the settings.

use std::path::Path;

use super::*;

fn surroundings() -> Surroundings {
    Surroundings { checkout: Some("/src".into()), user_data: Some("/home/data".into()) }
}

fn resolve(file: &str, overrides: &[(&str, &str)]) -> Result<Settings, String> {
    let overrides: Vec<_> =
        overrides.iter().map(|(key, value)| (format!("--{key}"), (*key).into(), (*value).into())).collect();
    Settings::resolve(&surroundings(), Some((Path::new("gesso.toml"), file)), &overrides)
        .map_err(|error| error.to_string())
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let settings = resolve("listen = \"127.0.0.1:1\"\nthreads = 3", &[("listen", "127.0.0.1:2")]).unwrap();
    assert_eq!((settings.listen.as_str(), settings.threads), ("127.0.0.1:2", 3));
}

#[test]
fn every_flag_of_the_server_is_a_variable_too_and_its_help_says_so() {
    let command = <cli::Cli as clap::CommandFactory>::command();
    let serve = command.find_subcommand("serve").unwrap();
    let mut seen = 0;
    for argument in serve.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let flag = argument.get_id().as_str();
        if flag == "print_settings" || flag == "help" {
            continue;
        }
        let variable = format!("GESSO_{}", flag.to_uppercase());
        // Which file is read is no setting.
        let is_read = |(name, key): &(&str, &str)| *name == variable && *key == flag;
        assert!(flag == "config" || ENVIRONMENT.iter().any(is_read), "nobody reads {variable}");
        let help = argument.get_help().unwrap().to_string();
        assert!(help.contains(&format!("[env: {variable}]")), "{flag}: {help}");
        seen += 1;
    }
    assert_eq!(seen, ENVIRONMENT.len(), "the admin's key has no flag, and the file's has no setting");
}

#[test]
fn a_misspelt_key_fails_and_suggests() {
    let error = resolve("lisen = \"127.0.0.1:1\"", &[]).unwrap_err();
    assert!(error.contains("gesso.toml") && error.contains("did you mean \"listen\"?"), "{error}");
    let error = resolve("compat.webui_error = \"forge\"", &[]).unwrap_err();
    assert!(error.contains("did you mean \"webui_errors\"?"), "{error}");
    let error = resolve("[limits]\nstep_max = 3", &[]).unwrap_err();
    assert!(error.contains("did you mean \"steps_max\"?"), "{error}");
    let error = resolve("[compat]\npassed_on_20 = true", &[]).unwrap_err();
    assert!(error.contains("did you mean \"passed_on_200\"?"), "{error}");
}

#[test]
fn a_checkout_without_settings_serves_the_demo() {
    let settings = resolve("", &[]).unwrap();
    assert_eq!(settings.models, Path::new("/src/examples/demo-model"));
    assert_eq!(settings.data, Path::new("/src/.gesso/data"));
    assert!(settings.grants["dynamic-prompts"].folders.contains_key("wildcards"));
    assert!(settings.grants["art-text"].own_origin && !settings.grants["dynamic-prompts"].own_origin);
    let of = |grants: &str| resolve(grants, &[]).unwrap().grants;
    let beside = of("[grants.watermark.settings]\ntext = \"mine\"");
    assert!(beside["dynamic-prompts"].folders.contains_key("wildcards") && beside.contains_key("watermark"));
    assert!(of("[grants.dynamic-prompts]")["dynamic-prompts"].folders.is_empty());
    assert!(!of("[grants.art-text]")["art-text"].own_origin);
}

#[test]
fn a_plugins_folder_of_ones_own_comes_without_any_grant() {
    assert!(resolve("", &[("plugins", "/my/plugins")]).unwrap().grants.is_empty());
}

#[test]
fn outside_a_checkout_everything_lies_in_the_users_data_folder() {
    let surroundings = Surroundings { checkout: None, user_data: Some("/home/data".into()) };
    let settings = Settings::resolve(&surroundings, None, &[]).unwrap();
    assert_eq!(settings.data, Path::new("/home/data/gesso/data"));
    assert_eq!(settings.models, Path::new("/home/data/gesso/models"));
}

#[test]
fn wrong_values_say_what_would_be_right() {
    for (file, expected) in [
        ("dtype = \"f64\"", "one of auto, f32, bf16, f16"),
        ("device = \"gpu\"", "auto, cpu, cuda or cuda:"),
        ("listen = \"localhost\"", "such as 127.0.0.1:7860"),
        ("concurrent_tasks = 0", "at least 1"),
        ("admin_key = \"\"", "at least 16 characters"),
        ("signed_url_seconds = 0", "between 1 and 604800"),
        ("threads = \"two\"", "gesso.toml"),
        ("[registries.\"https://a.example\"]", "write a host, such as registry.example"),
        ("[registries.\"a.example\"]\nuser = \"ann\"", "unknown field `user`"),
        (
            "[plugin_tiers.slow.step]\nwall_ms = 60000",
            "plugin_tiers.slow.step.wall_ms is 60000; it must be between 1 and",
        ),
        ("[grants.a.budgets.hook]\nmemory_mib = 0", "grants.a.budgets.hook.memory_mib is 0"),
        ("[grants.a.budgets]\ncpu_ms = 1", "unknown field `cpu_ms`"),
        ("[plugin_tiers.trusted]\n[grants.a]\ntier = \"trustd\"", "did you mean \"trusted\"?"),
        ("[grants.a]\ntier = \"trusted\"", "grants.a.tier is \"trusted\", which plugin_tiers do not have"),
        ("public_url = \"pictures.example\"", "public_url must begin with http:// or https://"),
        ("trusted_proxies = [\"localhost\"]", "an address or a network, such as 10.0.0.2 or 10.0.0.0/8"),
        ("trusted_proxies = [\"10.0.0.2\", \"::/0\"]", "\"::/0\" is every address"),
        ("otlp_endpoint = \"127.0.0.1:4318\"", "such as http://127.0.0.1:4318"),
        ("compat.webui_errors = \"gradio\"", "expected `a1111` or `forge` in `compat.webui_errors`"),
    ] {
        let error = resolve(file, &[]).unwrap_err();
        assert!(error.contains(expected), "{file}: {error}");
    }
}

#[test]
fn printing_hides_secrets_and_reads_back() {
    let file = "admin_key = \"s3cret-s3cret-s3cret\"\notlp_endpoint = \"http://ann:s3cret@a.example\"\n\
                [object_options]\naws_secret_access_key = \"s3cret\"\nAWS_ACCESS_KEY_ID = \"s3cret\"\n\
                [registries.\"a.example:5000\"]\nusername = \"ann\"\npassword = \"s3cret\"";
    let budgets = "\n[plugin_tiers.trusted.script]\ncpu_ms = 90000\n[grants.a]\ntier = \"trusted\"\n\
                   [grants.a.budgets]\nscript_jobs_max = 3";
    let settings = resolve(&format!("{file}{budgets}"), &[]).unwrap();
    let printed = settings.print();
    assert!(!printed.contains("s3cret") && printed.contains("ann"), "{printed}");
    assert!(
        printed.starts_with("# Not set: default_model, objects, outputs, tls, public_url. "),
        "{printed}"
    );
    let again = resolve(&printed, &[]).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!((again.plugin_tiers, again.grants), (settings.plugin_tiers, settings.grants), "{printed}");
}

#[test]
fn the_manual_has_every_setting_with_its_default_and_its_variable_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let manual = std::fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in manual.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().replace(' ', "")).collect();
        rows.insert(cells[1].trim_matches('`').to_owned(), (cells[2].clone(), cells[3].clone()));
    }
    let source = include_str!("../settings.rs");
    let (_, fields) = source.split_once("pub(crate) struct Settings {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let optional =
        fields.lines().filter_map(|line| line.trim().strip_prefix("pub(crate) ")?.split_once(": Option<"));
    assert!(optional.map(|(name, _)| name).eq(OPTIONAL));

    let mut wanted: BTreeMap<_, _> = OPTIONAL.map(|name| (name.to_owned(), "unset".to_owned())).into();
    for (name, default) in toml::Table::try_from(Settings::default()).unwrap() {
        match default {
            toml::Value::Table(inner) if inner.is_empty() => {
                wanted.insert(name, "none".into());
            }
            toml::Value::Table(inner) => wanted.extend(
                inner.into_iter().map(|(key, default)| (format!("{name}.{key}"), format!("`{default}`"))),
            ),
            default => {
                wanted.insert(name, format!("`{default}`"));
            }
        }
    }
    let variable = |name: &str| {
        let variable = ENVIRONMENT.iter().find(|(_, key)| *key == name);
        variable.map_or_else(String::new, |(variable, _)| format!("`{variable}`"))
    };
    let wanted: BTreeMap<_, _> = wanted
        .into_iter()
        .map(|(name, default)| (name.clone(), (default.replace(' ', ""), variable(&name))))
        .collect();
    assert_eq!(rows, wanted);
}

#[test]
fn no_command_has_an_argument_twice() {
    use clap::CommandFactory;
    cli::Cli::command().debug_assert();
}
