//! The manifest a plugin carries in its custom section `gesso:manifest`: who it is, which worlds it fills and what
//! it would like. Read without running the plugin. Wants are wishes; grants live elsewhere.

mod annotators;
mod scripts;
mod stages;
mod steps;

use crate::aliases;
use crate::outgoing::HostPattern;

pub use self::annotators::{Annotator, Recombine, Slider};
pub use self::scripts::{Script, ScriptArgument};
pub use self::stages::PictureStage;
pub use self::steps::{StepPoint, Steps};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The WIT versions this host speaks, the newest last. A later one has the worlds of those before it.
pub(crate) const API_VERSIONS: [&str; 2] = ["0.1.0", "0.2.0"];
pub(crate) const SECTION: &str = "gesso:manifest";
/// A manifest is a page of text; more is a mistake or an attack.
const MAX_BYTES: usize = 64 << 10;
/// Of a name in a list.
const NAME_BYTES_MAX: usize = 64;
/// Of a host, which has 253 bytes in the DNS, with its scheme and port.
const HOST_BYTES_MAX: usize = 300;
/// Each with the version that brought it.
const WORLDS: [(&str, &str); 12] = [
    ("request-hook", "0.1.0"),
    ("http-extension", "0.1.0"),
    ("http-handler", "0.2.0"),
    ("annotator", "0.2.0"),
    ("script", "0.2.0"),
    ("input-fetcher", "0.2.0"),
    ("picture-hook", "0.2.0"),
    ("step-hook", "0.2.0"),
    ("infotext-hook", "0.2.0"),
    ("save-hook", "0.2.0"),
    ("model-hook", "0.2.0"),
    ("grid-hook", "0.2.0"),
];
const HOOKS: [&str; 2] = ["before", "after"];

/// A checked manifest. Unknown fields are ignored, so that newer plugins load on older hosts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    pub id: String,
    pub version: String,
    pub api: String,
    pub worlds: Vec<String>,
    /// Hooks that are called at all; both where the manifest is silent.
    pub hooks: Vec<String>,
    pub wants: Wants,
    /// What a plugin of the world `annotator` can make of a picture.
    pub annotators: Vec<Annotator>,
    /// What a plugin of the world `script` draws.
    pub scripts: Vec<Script>,
    /// Schemes of the references that a plugin of the world `input-fetcher` brings pictures for.
    pub fetches: Vec<String>,
    /// Where a plugin of the world `step-hook` acts.
    pub steps: Option<Steps>,
    /// Where a plugin of the world `picture-hook` is called.
    pub stages: Vec<PictureStage>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub licence: Option<String>,
    pub settings_schema: Option<Value>,
    pub arguments_schema: Option<Value>,
}

/// What a plugin asks the admin for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    #[serde(default)]
    pub folders: Vec<String>,
    /// As an admin would grant them: `https://pictures.example`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Networks, as an admin would grant them: `depth`, `face_*`, `*`.
    #[serde(default)]
    pub models: Vec<String>,
    /// Whether its step hook reads numbers off the device.
    #[serde(default)]
    pub read_tensors: bool,
    /// Bytes that it would keep as small values; 0 for none.
    #[serde(default)]
    pub kv_bytes: u64,
    /// Bytes that it would keep as blobs; 0 for none.
    #[serde(default)]
    pub blob_bytes: u64,
    /// Paths beside `/ext/<id>/` at which its HTTP API would answer: `/adetailer/v1`.
    #[serde(default)]
    pub aliases: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("it has no manifest: put the JSON of manifest.json into the custom section {SECTION}")]
    Missing,
    #[error("it has {0} different manifests in its custom sections; one is right")]
    Several(usize),
    #[error("its manifest is {0} bytes long; at most {MAX_BYTES} are read")]
    TooLong(usize),
    #[error("its manifest is not a JSON object: {0}")]
    Json(String),
    #[error("the manifest's field `{field}` {problem}")]
    Field { field: &'static str, problem: String },
}

impl Manifest {
    /// Parses and checks the bytes of the custom section.
    ///
    /// # Errors
    /// The first wrong field, as one sentence.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        let fields: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.to_string()))?;
        let id = required(&fields, "id")?;
        if !is_id(&id) {
            return wrong("id", format!("is {id:?}; it takes 1 to 64 of a-z, 0-9 and -"));
        }
        let version = required(&fields, "version")?;
        if !is_version(&version) {
            return wrong("version", format!("is {version:?}; it looks like 1.2.3 or 1.2.3-beta.1"));
        }
        let api = required(&fields, "api")?;
        let Some(age) = API_VERSIONS.iter().position(|version| *version == api) else {
            return wrong("api", format!("is {api:?}; this host speaks {}", API_VERSIONS.join(" and ")));
        };
        let known = WORLDS.map(|(world, _)| world);
        let worlds = names(&fields, "worlds", Some(&known))?.unwrap_or_default();
        if worlds.is_empty() {
            return wrong("worlds", format!("is empty; name at least one of {}", known.join(", ")));
        }
        let is_newer = |(world, since): &&(&str, &str)| {
            worlds.iter().any(|name| name == world) && !API_VERSIONS[..=age].contains(since)
        };
        if let Some((world, since)) = WORLDS.iter().find(is_newer) {
            return wrong("worlds", format!("holds {world:?}, which came with {since}; `api` is {api:?}"));
        }
        let annotators = annotators::read(&fields)?;
        let is_annotator = worlds.iter().any(|world| world == "annotator");
        if is_annotator == annotators.is_empty() {
            return wrong("annotators", "goes with the world annotator, which has at least one".into());
        }
        let scripts = scripts::read(&fields)?;
        if worlds.iter().any(|world| world == "script") == scripts.is_empty() {
            return wrong("scripts", "goes with the world script, which has at least one".into());
        }
        let fetches = names(&fields, "fetches", None)?.unwrap_or_default();
        if worlds.iter().any(|world| world == "input-fetcher") == fetches.is_empty() {
            return wrong("fetches", "goes with the world input-fetcher, which has at least one".into());
        }
        if let Some(scheme) = fetches.iter().find(|scheme| !is_scheme(scheme)) {
            return wrong(
                "fetches",
                format!("holds {scheme:?}; a scheme such as \"https\" has a-z, 0-9, + and -"),
            );
        }
        let steps = steps::read(&fields)?;
        if worlds.iter().any(|world| world == "step-hook") != steps.is_some() {
            return wrong("steps", "goes with the world step-hook, which has it".into());
        }
        let stages = stages::read(&fields, worlds.iter().any(|world| world == "picture-hook"))?;
        let hooks =
            names(&fields, "hooks", Some(&HOOKS))?.unwrap_or_else(|| HOOKS.map(str::to_owned).to_vec());
        let wants = match fields.get("wants") {
            None | Some(Value::Null) => Wants::default(),
            Some(Value::Object(wants)) => {
                let hosts = names_of(wants, "hosts", None, HOST_BYTES_MAX)?.unwrap_or_default();
                if let Some(problem) = hosts.iter().find_map(|host| HostPattern::parse(host).err()) {
                    return wrong("wants", format!("has a wrong host: {problem}"));
                }
                let aliases = names(wants, "aliases", None)?.unwrap_or_default();
                if let Some(alias) = aliases.iter().find(|alias| !aliases::is_path(alias)) {
                    return wrong(
                        "wants",
                        format!("has the alias {alias:?}; one is a path such as /adetailer/v1"),
                    );
                }
                let is_http = ["http-extension", "http-handler"]
                    .iter()
                    .any(|http| worlds.iter().any(|world| world == http));
                if !aliases.is_empty() && !is_http {
                    return wrong(
                        "wants",
                        "has aliases, which go with the worlds http-extension and http-handler".into(),
                    );
                }
                Wants {
                    folders: names(wants, "folders", None)?.unwrap_or_default(),
                    hosts,
                    models: names(wants, "models", None)?.unwrap_or_default(),
                    read_tensors: wants.get("read_tensors") == Some(&Value::Bool(true)),
                    kv_bytes: wanted_bytes(wants, "kv_bytes")?,
                    blob_bytes: wanted_bytes(wants, "blob_bytes")?,
                    aliases,
                }
            }
            Some(_) => {
                return wrong("wants", "is not an object such as {\"folders\": [\"wildcards\"]}".into());
            }
        };
        Ok(Self {
            id,
            version,
            api,
            worlds,
            hooks,
            wants,
            annotators,
            scripts,
            fetches,
            steps,
            stages,
            title: optional(&fields, "title")?,
            description: optional(&fields, "description")?,
            licence: optional(&fields, "licence")?,
            settings_schema: schema(&fields, "settings_schema")?,
            arguments_schema: schema(&fields, "arguments_schema")?,
        })
    }

    /// The worlds it fills, each with the version of the contract that has it.
    pub fn worlds_since(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        WORLDS.into_iter().filter(|(world, _)| self.has_world(world))
    }

    pub(crate) fn has_world(&self, world: &str) -> bool {
        self.worlds.iter().any(|name| name == world)
    }

    pub(crate) fn has_hook(&self, hook: &str) -> bool {
        self.hooks.iter().any(|name| name == hook)
    }
}

/// Whether `id` may name a plugin, and with it a file.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Of a reference (RFC 3986, lower case). `data` is read by the server itself, and one letter is a drive of Windows.
fn is_scheme(scheme: &str) -> bool {
    scheme.len() >= 2
        && scheme != "data"
        && scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-".contains(&b))
}

fn is_version(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    version.len() <= 64
        && numbers.len() == 3
        && numbers.iter().all(|n| !n.is_empty() && n.len() <= 9 && n.bytes().all(|b| b.is_ascii_digit()))
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b))
}

fn wrong<T>(field: &'static str, problem: String) -> Result<T, ManifestError> {
    Err(ManifestError::Field { field, problem })
}

fn required(fields: &Map<String, Value>, field: &'static str) -> Result<String, ManifestError> {
    optional(fields, field)?
        .ok_or(ManifestError::Field { field, problem: "is missing; it is a string".to_owned() })
}

fn optional(fields: &Map<String, Value>, field: &'static str) -> Result<Option<String>, ManifestError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => wrong(field, "is not a string".into()),
    }
}

fn schema(fields: &Map<String, Value>, field: &'static str) -> Result<Option<Value>, ManifestError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(_)) => match crate::schema::problem(value) {
            Some(problem) => wrong(field, problem),
            None => Ok(Some(value.clone())),
        },
        Some(_) => wrong(field, "is not a JSON schema object".into()),
    }
}

fn wanted_bytes(wants: &Map<String, Value>, store: &str) -> Result<u64, ManifestError> {
    match wants.get(store) {
        None | Some(Value::Null) => Ok(0),
        Some(bytes) => bytes.as_u64().map_or_else(
            || {
                wrong(
                    "wants",
                    format!("has `{store}` {bytes}; it is how many bytes are to be kept, such as 65536"),
                )
            },
            Ok,
        ),
    }
}

fn names(
    fields: &Map<String, Value>,
    field: &'static str,
    known: Option<&[&str]>,
) -> Result<Option<Vec<String>>, ManifestError> {
    names_of(fields, field, known, NAME_BYTES_MAX)
}

fn names_of(
    fields: &Map<String, Value>,
    field: &'static str,
    known: Option<&[&str]>,
    bytes_max: usize,
) -> Result<Option<Vec<String>>, ManifestError> {
    let items = match fields.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) if items.len() <= 32 => items,
        Some(_) => return wrong(field, "is not a list of at most 32 strings".into()),
    };
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let Some(name) = item.as_str() else {
            return wrong(field, format!("holds {item}, which is not a string"));
        };
        if name.is_empty() || name.len() > bytes_max {
            return wrong(field, format!("holds {name:?}; a name has 1 to {bytes_max} bytes"));
        }
        if let Some(known) = known
            && !known.contains(&name)
        {
            return wrong(field, format!("holds {name:?}; this host knows {}", known.join(", ")));
        }
        if !names.iter().any(|seen| seen == name) {
            names.push(name.to_owned());
        }
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Manifest, String> {
        Manifest::parse(json.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_a_full_manifest_and_ignores_unknown_fields() {
        let manifest = parse(
            r#"{"id":"dynamic-prompts","version":"1.2.3","api":"0.1.0","worlds":["request-hook"],"hooks":["before"],
                "wants":{"folders":["wildcards"],"hosts":["*.later"],"more":[]},"licence":"Apache-2.0","colour":"blue"}"#,
        )
        .unwrap();
        assert_eq!(manifest.wants.folders, ["wildcards"]);
        assert!(manifest.has_hook("before") && !manifest.has_hook("after"));
    }

    #[test]
    fn a_host_may_be_as_long_as_names_of_hosts_are() {
        let wants = |host: &str| {
            let manifest = r#"{"id":"a","version":"1.0.0","api":"0.1.0","worlds":["request-hook"],
                "wants":{"hosts":["HOST"]}}"#;
            parse(&manifest.replace("HOST", host))
        };
        let labels = format!("{}.", "a".repeat(61)).repeat(3);
        let host = format!("https://{labels}example:8443");
        assert!(host.len() > NAME_BYTES_MAX);
        assert_eq!(wants(&host).unwrap().wants.hosts, [host]);
        assert!(wants(&format!("{}.example", "a.".repeat(200))).unwrap_err().contains("1 to 300 bytes"));
    }

    #[test]
    fn a_wrong_field_is_one_sentence_naming_it() {
        let base = r#"{"id":"a","version":"1.0.0","api":"0.1.0","worlds":["request-hook"]}"#;
        assert!(parse(base).is_ok());
        for (from, to, says) in [
            (r#""id":"a""#, r#""id":"A b""#, "`id` is \"A b\"; it takes 1 to 64 of a-z, 0-9 and -"),
            (r#""id":"a","#, "", "`id` is missing"),
            ("1.0.0", "1.0", "`version` is \"1.0\"; it looks like"),
            ("0.1.0", "0.3.0", "`api` is \"0.3.0\"; this host speaks 0.1.0 and 0.2.0"),
            ("request-hook", "annotator", "holds \"annotator\", which came with 0.2.0; `api` is \"0.1.0\""),
            (
                "request-hook",
                "later-hook",
                "`worlds` holds \"later-hook\"; this host knows request-hook, http-extension, http-handler, annotator, script, input-fetcher, picture-hook, step-hook, infotext-hook, save-hook, model-hook, grid-hook",
            ),
            (r#"["request-hook"]"#, "[]", "`worlds` is empty"),
            (r#"["request-hook"]"#, r#"["request-hook"],"wants":[]"#, "`wants` is not an object"),
            (
                r#"["request-hook"]"#,
                r#"["request-hook"],"wants":{"kv_bytes":"much"}"#,
                "`wants` has `kv_bytes` \"much\"; it is how many bytes",
            ),
            (r#"["request-hook"]"#, r#"["http-extension"],"wants":{"aliases":["a"]}"#, "has the alias \"a\""),
            (
                r#"["request-hook"]"#,
                r#"["request-hook"],"wants":{"aliases":["/a"]}"#,
                "has aliases, which go with",
            ),
        ] {
            let error = parse(&base.replace(from, to)).unwrap_err();
            assert!(error.contains(says), "{error} should say {says}");
        }
        assert!(parse("[]").unwrap_err().contains("not a JSON object"));
        assert!(parse(&" ".repeat(70_000)).unwrap_err().contains("at most"));
    }
}
