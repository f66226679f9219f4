//! What the host is built from: folders, budgets, grants, and the context of one call. Filled by the server, which
//! alone reads configuration. Refuses to know where a value came from.

use crate::audience::Whom;
use crate::budgets::PluginBudgets;
use crate::signature::TrustedKey;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Everything [`crate::PluginHost::start`] needs.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// The watched folder an admin sees: one `<id>.wasm` for each plugin.
    pub folder: PathBuf,
    /// Owned by the service, made with mode 0700: compile cache, kept versions, `registry.json`.
    pub state: PathBuf,
    /// Command line of the compile worker; the host appends its own arguments. The command must end in
    /// [`crate::compile_worker::main`].
    pub compiler: Vec<OsString>,
    pub budgets: Budgets,
    /// Guests that may run at one time, over all plugins. Memory is bounded by this times
    /// `memory_bytes + image_bytes` of the largest budget, granted ones included, 4 MiB of fields of HTTP requests and answers,
    /// 10 KiB of a body for each of its handles, and 64 MiB of requests and answers of a plugin that was granted hosts.
    pub max_concurrent_calls: usize,
    /// Where there are any, only components that one of them signed are loaded.
    pub trusted_keys: Vec<TrustedKey>,
    /// Grants from the settings file, by plugin id. Grants stored through [`crate::PluginHost::set_grants`] win.
    pub grants: BTreeMap<String, Grants>,
    /// Budgets that several plugins share, by the name that their grants say.
    pub tiers: BTreeMap<String, PluginBudgets>,
    /// First parts of the caller's own paths, which no alias may begin with: `sdapi`.
    pub own_paths: BTreeSet<String>,
}

/// What one call may spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Processor time of guest code and of what the host does for it; waiting is free.
    pub cpu: Duration,
    /// From admission to result, waiting included.
    pub wall: Duration,
    /// Sum over all linear memories of the call, bytes.
    pub memory_bytes: u64,
    /// Sum over all live pictures of the call, host side, bytes; those that were drawn for it and not yet taken count.
    pub image_bytes: u64,
    /// Pixels of one picture that a hook gives back, where it was not given as large a one.
    pub picture_pixels: u64,
    /// Live handles (pictures, streams, HTTP resources) of the call.
    pub handles: usize,
    /// Lines a call may add to the plugin's log; further ones are counted and dropped.
    pub log_lines: u32,
    /// Longer log lines are cut.
    pub log_line_bytes: usize,
    /// JSON a `before` hook may return, bytes.
    pub return_bytes: usize,
    /// Body an HTTP extension may answer with, bytes.
    pub http_body_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(2),
            wall: Duration::from_secs(10),
            memory_bytes: 64 << 20,
            image_bytes: 128 << 20,
            picture_pixels: u64::MAX,
            handles: 4096,
            log_lines: 100,
            log_line_bytes: 1024,
            return_bytes: 256 << 10,
            http_body_bytes: 8 << 20,
        }
    }
}

/// What a call may spend, by what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Of hooks, HTTP APIs and the trial at load, which no grant lets take longer.
    pub hook: Budget,
    /// Of a script or a picture hook, which wait for drawings and put many pictures together. While nothing is drawn for it, one
    /// waits no longer in all than a hook's `wall`.
    pub script: Budget,
    /// Of an annotator, which looks at every pixel of a large picture.
    pub annotator: Budget,
    /// Of an input fetcher, which waits for others and holds what they send.
    pub fetcher: Budget,
    /// Of a step hook, which everything on the device waits for.
    pub step: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            hook: Budget::default(),
            script: Budget::of_a_script(),
            annotator: Budget::of_an_annotator(),
            fetcher: Budget { wall: Duration::from_secs(30), memory_bytes: 160 << 20, ..Budget::default() },
            step: Budget {
                cpu: Duration::from_millis(100),
                wall: Duration::from_millis(500),
                ..Budget::default()
            },
        }
    }
}

impl Budgets {
    pub(crate) fn all(&self) -> [&Budget; 5] {
        [&self.hook, &self.script, &self.annotator, &self.fetcher, &self.step]
    }
}

impl Budget {
    /// What a script may spend by default: time to draw hundreds of pictures, and room to put them together.
    fn of_a_script() -> Self {
        Self {
            cpu: Duration::from_secs(60),
            wall: Duration::from_secs(6 * 3600),
            memory_bytes: 256 << 20,
            image_bytes: 1 << 30,
            ..Self::default()
        }
    }

    /// What an annotator may spend by default: room and time for a map of 2048 pixels on the short side.
    fn of_an_annotator() -> Self {
        Self {
            cpu: Duration::from_secs(20),
            wall: Duration::from_secs(30),
            memory_bytes: 512 << 20,
            ..Self::default()
        }
    }
}

/// What an admin lets one plugin do. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Name the guest uses → folder on the host, read only.
    pub folders: BTreeMap<String, PathBuf>,
    /// Hosts it may send requests to: `https://pictures.example`, `*.example:8443`, `http://127.0.0.1:9000`.
    pub hosts: Vec<String>,
    /// Whether names among these hosts may stand for addresses of this machine and of private networks.
    pub private_addresses: bool,
    /// Networks it may run: names, `*` for all, or how names begin with `*` behind it.
    pub models: Vec<String>,
    /// Whether its step hook may read numbers off the device, for which everything waits.
    pub read_tensors: bool,
    /// Bytes it may keep as small values, keys counted; 0 for none.
    pub kv_bytes: u64,
    /// Bytes it may keep as blobs, names counted; 0 for none.
    pub blob_bytes: u64,
    /// Paths beside `/ext/<id>/` at which it answers, of those that its manifest wants.
    pub aliases: Vec<String>,
    /// Whether its pages are the server's own to browsers, and act with the rights of who looks at them.
    pub own_origin: bool,
    /// What its calls may spend; what is left out is as the tier has it, and behind that as the server's settings have it.
    pub budgets: PluginBudgets,
    /// One of [`HostSettings::tiers`].
    pub tier: Option<String>,
    /// The plugin's settings, handed to it as JSON; `null` reads as `{}` in the guest.
    pub settings: serde_json::Value,
}

/// Opens granted folders. The server implements it with capability handles, so that no path of a guest is ever
/// joined to a host path.
pub trait FolderSource: Send + Sync {
    /// Opens the folder once, at load.
    ///
    /// # Errors
    /// Whatever opening gives; the plugin is refused with that text.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn GrantedFolder>>;
}

/// One opened folder, read only. Methods may block for a disk read: they run on the plugins' own threads.
pub trait GrantedFolder: Send + Sync {
    /// Files below the folder, `/` between parts.
    ///
    /// # Errors
    /// As the file system answers.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A file of at most `max` bytes.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` for paths that leave the folder, `FileTooLarge` over `max`.
    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>>;
}

/// Plugins that a client names, by id or title, in any case and with a version behind it or without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named(Arc<BTreeSet<String>>);

impl Named {
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let both = names.into_iter().flat_map(|name| [name, without_version(name)]);
        Self(Arc::new(both.map(str::to_lowercase).collect()))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(&name.to_lowercase())
    }
}

/// A title without the version that some extensions of web UIs have behind theirs, as `Dynamic Prompts v2.17.1` has; their
/// clients send it.
pub fn without_version(title: &str) -> &str {
    let is_version = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_digit())
            && text.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
    };
    match title.rsplit_once(" v") {
        Some((bare, version)) if is_version(version) => bare,
        _ => title,
    }
}

/// Whom a call serves.
#[derive(Debug, Clone)]
pub struct CallContext {
    pub request_id: String,
    /// The same request has the same seed in every hook.
    pub seed: u64,
    /// Those under `alwayson_scripts`, as the client sent it: what plugins write into a request calls nobody.
    pub named: Named,
    /// Who asks: plugins that do not serve them are not there.
    pub whom: Whom,
    /// Environment variables of the guest, which has no others.
    pub environment: Arc<BTreeMap<String, String>>,
    /// Set by the server when nobody waits any more; looked at by the host and visible to the guest.
    pub cancelled: Arc<AtomicBool>,
}

impl CallContext {
    pub fn new(request_id: impl Into<String>, seed: u64) -> Self {
        Self {
            request_id: request_id.into(),
            seed,
            named: Named::default(),
            whom: Whom::default(),
            environment: Arc::default(),
            cancelled: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_named_with_the_version_of_a_web_uis_extension_too() {
        let named = Named::new(["Dynamic Prompts v2.17.1", "Watermark"]);
        for (name, is_named) in [
            ("dynamic prompts", true),
            ("dynamic prompts v2.17.1", true),
            ("WATERMARK", true),
            ("dynamic", false),
        ] {
            assert_eq!(named.has(name), is_named, "{name}");
        }
        for same in ["Watermark", "a v", "a vest", "a v2x", "v2", ""] {
            assert_eq!(without_version(same), same);
        }
    }
}
