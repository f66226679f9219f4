//! What runs a server elsewhere (an image, compose, Kubernetes, systemd) against the sources that it speaks of. No engine
//! builds an image in a check, so what can be told from the text alone is told: what is copied is there, variables are
//! read by somebody, ports are the default one, probes ask routes, volumes are the image's folders, and nobody kills a
//! server that still drains. Reads lines; knows neither YAML nor any engine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const IMAGE: &str = "deploy/Containerfile";
const COMPOSE: &str = "deploy/compose.yaml";
const KUBERNETES: &str = "deploy/kubernetes.yaml";
const UNIT: &str = "deploy/gesso.service";

/// Seconds that a stop takes behind a drain that took all of its time: tasks handed back, the last step of the device.
const AFTER_DRAIN: u64 = 20;

/// What a file says at all, or somebody has taken it out by mistake.
const SAYS: [(&str, &[&str]); 4] = [
    (
        IMAGE,
        &["/health/ready", "EXPOSE ", "GESSO_ACCESS=closed", "GESSO_LISTEN=", "USER ", "STOPSIGNAL SIGTERM"],
    ),
    (COMPOSE, &["stop_grace_period: ", "dockerfile: deploy/Containerfile", "ports: ["]),
    (
        KUBERNETES,
        &[
            "/health/live",
            "/health/ready",
            "containerPort: ",
            "terminationGracePeriodSeconds: ",
            "replicas: 1",
            "type: Recreate",
        ],
    ),
    (UNIT, &["TimeoutStopSec=", "Type=notify"]),
];

/// What stands before a port, at its line's end or before a path.
const PORTS: [&str; 6] = ["EXPOSE ", "GESSO_LISTEN=", "ports: [", " port: ", "Port: ", "http://127.0.0.1:"];
/// What stands before the seconds until a server is killed.
const GRACE: [&str; 3] = ["stop_grace_period: ", "terminationGracePeriodSeconds: ", "TimeoutStopSec="];
/// Variables that name the folders which outlive a container.
const FOLDERS: [&str; 3] = ["GESSO_DATA=", "GESSO_MODELS=", "GESSO_PLUGINS="];

pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let read =
        |file: &str| fs::read_to_string(root.join(file)).with_context(|| format!("{file} cannot be read"));
    let sources = Sources {
        settings: read("host/server/src/settings.rs")?,
        variables: read("host/server/src/settings/resolve.rs")? + &read("host/server/src/environment.rs")?,
        routes: read("host/server/src/http/routes/health.rs")?,
    };
    let image = read(IMAGE)?;
    let mut found: Vec<_> = copies(&image, |path| root.join(path).exists())
        .into_iter()
        .chain(volumes(&image, &read(COMPOSE)?, &read(KUBERNETES)?))
        .chain(lacks(&image))
        .collect();
    for (file, says) in SAYS {
        let text = read(file)?;
        let missing = says.iter().filter(|words| !text.contains(*words));
        found.extend(missing.map(|words| format!("{file} says nothing of {:?}", words.trim())));
        found.extend(sources.problems(&text)?.into_iter().map(|problem| format!("{file}: {problem}")));
    }
    Ok(found)
}

/// Where the truth is written.
struct Sources {
    /// With their defaults.
    settings: String,
    /// Those that name the variables which are read.
    variables: String,
    routes: String,
}

impl Sources {
    /// What a file of `deploy/` says that the sources do not.
    fn problems(&self, text: &str) -> Result<Vec<String>> {
        let port = self.default_of("listen")?;
        let grace = self.default_of("drain_seconds")? + AFTER_DRAIN;
        let variables = words(text, "GESSO_", |letter| letter.is_ascii_uppercase() || letter == '_')
            .filter(|name| !self.variables.contains(&format!("\"{name}\"")))
            .map(|name| format!("nobody reads the variable {name}"));
        let probes = words(text, "/health/", |letter| letter.is_ascii_alphanumeric())
            .filter(|path| !self.routes.contains(&format!("path = \"{path}\"")))
            .map(|path| format!("{path} is no route"));
        let ports = lines(text, &PORTS)
            .filter(|line| last_number(line) != Some(port))
            .map(|line| format!("`{line}` does not speak of the default port, {port}"));
        let kills = lines(text, &GRACE)
            .filter(|line| last_number(line).is_none_or(|seconds| seconds < grace))
            .map(|line| {
                format!("`{line}` leaves less than {grace} s, which a drain and what follows may take")
            });
        Ok(variables.chain(probes).chain(ports).chain(kills).collect())
    }

    /// The last number of a setting's default.
    fn default_of(&self, setting: &str) -> Result<u64> {
        let defaults =
            self.settings.split_once("impl Default for Settings").map_or("", |(_, defaults)| defaults);
        let line = lines(defaults, &[&format!("{setting}: ")]).next();
        line.and_then(last_number).with_context(|| format!("settings.rs has no default of {setting}"))
    }
}

/// Sources of `COPY` that are neither in the checkout nor, where another stage has them, named before.
fn copies(image: &str, is_in_checkout: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in image.match_indices("\nCOPY ").map(|(at, _)| (at, &image[at + 1..])) {
        let words = line.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let (flags, mut paths): (Vec<&str>, Vec<&str>) = words.partition(|word| word.starts_with("--"));
        let is_from_a_stage = flags.iter().any(|flag| flag.starts_with("--from="));
        // Where they go.
        paths.pop();
        paths
            .retain(|path| if is_from_a_stage { !image[..at].contains(path) } else { !is_in_checkout(path) });
        found.extend(paths.iter().map(|path| format!("{IMAGE} copies {path}, which is not there")));
    }
    found
}

/// What the image's own probe and the loader look for, and do not find in it.
fn lacks(image: &str) -> Vec<String> {
    let word_after = |words: &str| image.split_once(words)?.1.split_whitespace().next();
    let health = image.split_once("HEALTHCHECK ").and_then(|(_, after)| after.split_once("CMD "));
    let program = health.and_then(|(_, command)| command.split_whitespace().next());
    let is_installed = |program: &str| {
        lines(image, &["apt-get install "]).any(|line| line.split_whitespace().any(|word| word == program))
    };
    let is_filled = |folder: &str| {
        lines(image, &["COPY --from="]).any(|line| line.split_whitespace().next_back() == Some(folder))
    };
    let probe = program.filter(|program| !is_installed(program));
    let probe = probe.map(|program| format!("{IMAGE} probes with {program}, which it does not install"));
    let libraries = (!word_after("LD_LIBRARY_PATH=").is_some_and(is_filled))
        .then(|| format!("{IMAGE} copies no libraries to where LD_LIBRARY_PATH leads"));
    probe.into_iter().chain(libraries).collect()
}

/// Folders of the image that do not outlive a container somewhere.
fn volumes(image: &str, compose: &str, kubernetes: &str) -> Vec<String> {
    let mut found = Vec::new();
    for variable in FOLDERS {
        let Some((_, after)) = image.split_once(variable) else {
            found.push(format!("{IMAGE} does not set {variable}"));
            continue;
        };
        let folder = after.split_whitespace().next().unwrap_or_default();
        let is_volume = lines(image, &["VOLUME "]).any(|line| line.contains(&format!("\"{folder}\"")));
        let is_composed = compose.lines().any(|line| line.ends_with(&format!(":{folder}")));
        let is_mounted = kubernetes.contains(&format!("mountPath: {folder}"));
        let places = [(IMAGE, is_volume), (COMPOSE, is_composed), (KUBERNETES, is_mounted)];
        let missing = places.into_iter().filter(|(_, is_there)| !is_there);
        found.extend(missing.map(|(file, _)| format!("{file} has no volume at {folder}")));
    }
    found
}

/// Every word that begins so and goes on with such letters.
fn words<'a>(text: &'a str, beginning: &str, goes_on: fn(char) -> bool) -> impl Iterator<Item = &'a str> {
    let places: Vec<_> =
        text.match_indices(beginning).map(|(at, beginning)| (at, at + beginning.len())).collect();
    places.into_iter().map(move |(begin, after)| {
        let length = text[after..].find(|letter: char| !goes_on(letter)).unwrap_or(text.len() - after);
        &text[begin..after + length]
    })
}

/// Lines with one of the words, without the spaces around them.
fn lines<'a>(text: &'a str, words: &[&str]) -> impl Iterator<Item = &'a str> {
    text.lines().filter(move |line| words.iter().any(|word| line.contains(word))).map(str::trim)
}

fn last_number(line: &str) -> Option<u64> {
    let is_digit = |letter: char| letter.is_ascii_digit();
    let upto = line.trim_end_matches(|letter: char| !is_digit(letter));
    upto[upto.trim_end_matches(is_digit).len()..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        Sources {
            settings:
                "impl Default for Settings {\n listen: \"127.0.0.1:7860\".into(),\n drain_seconds: 60,\n}"
                    .into(),
            variables: "(\"GESSO_LISTEN\", \"listen\")".into(),
            routes: "path = \"/health/live\"".into(),
        }
    }

    #[test]
    fn what_the_checkout_has_is_right() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(problems(root).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn finds_variables_ports_probes_and_graces_that_the_server_does_not_have() {
        let right = "ENV GESSO_LISTEN=0.0.0.0:7860\nEXPOSE 7860\nports: [\"127.0.0.1:80:7860\"]\n\
                     httpGet: {path: /health/live, port: 7860}\nstop_grace_period: 80s\n";
        assert_eq!(sources().problems(right).unwrap(), Vec::<String>::new());
        for (wrong, says) in [
            ("ENV GESSO_LISTENS=x", "nobody reads the variable GESSO_LISTENS"),
            ("ENV GESSO_LISTEN=0.0.0.0:8000", "default port, 7860"),
            ("curl http://127.0.0.1:8080/health/live", "default port, 7860"),
            ("containerPort: http", "default port, 7860"),
            ("{path: /health/lives, port: 7860}", "/health/lives is no route"),
            ("terminationGracePeriodSeconds: 60", "leaves less than 80 s"),
            ("TimeoutStopSec=infinity", "leaves less than 80 s"),
        ] {
            let found = sources().problems(wrong).unwrap();
            assert!(found.len() == 1 && found[0].contains(says), "{wrong}: {found:?}");
        }
    }

    #[test]
    fn finds_what_an_image_copies_and_nobody_has() {
        let image = "FROM a AS build\nCOPY host host\nCOPY Cargo.toml gone ./\nRUN make /out/gesso\nFROM b\n\
                     COPY --from=build /out/gesso /usr/bin/gesso\nCOPY --from=build --chown=a:b /out/lost /usr/bin/\n";
        let found = copies(image, |path| ["host", "Cargo.toml"].contains(&path));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("copies gone,") && found[1].contains("copies /out/lost,"), "{found:?}");
    }

    #[test]
    fn finds_a_probe_that_is_not_installed_and_libraries_that_are_not_found() {
        let image = "RUN apt-get update \\\n    && apt-get install -y ca-certificates curl \\\n    && true\n\
                     COPY --from=build /out/lib /usr/local/lib/gesso\nENV LD_LIBRARY_PATH=/usr/local/lib/gesso\n\
                     HEALTHCHECK --interval=10s \\\n    CMD curl --fail http://127.0.0.1:7860/health/ready\n";
        assert_eq!(lacks(image), Vec::<String>::new());
        let found = lacks(&image.replace(" curl \\", " \\"));
        assert_eq!(found, [format!("{IMAGE} probes with curl, which it does not install")]);
        let found = lacks(&image.replace("=/usr/local/lib/gesso", "=/usr/lib/gesso"));
        assert_eq!(found, [format!("{IMAGE} copies no libraries to where LD_LIBRARY_PATH leads")]);
    }

    #[test]
    fn finds_folders_that_end_with_their_container() {
        let image = "ENV GESSO_DATA=/data\nENV GESSO_MODELS=/models\nENV GESSO_PLUGINS=/plugins\n\
                     VOLUME [\"/data\", \"/models\", \"/plugins\"]\n";
        let compose = "  - a:/data\n  - b:/models\n  - c:/plugins\n";
        let kubernetes = "{mountPath: /data}\n{mountPath: /models}\n{mountPath: /plugins}\n";
        assert_eq!(volumes(image, compose, kubernetes), Vec::<String>::new());
        let found = volumes(image, &compose.replace("c:/plugins", "c:/plug"), kubernetes);
        assert_eq!(found, [format!("{COMPOSE} has no volume at /plugins")]);
        assert_eq!(volumes("VOLUME [\"/data\"]", compose, kubernetes).len(), 3);
    }
}
