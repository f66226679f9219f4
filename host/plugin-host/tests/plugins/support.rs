//! A plugin host in a temporary folder, and the built guests. Used by every file of this binary.

use bytes::Bytes;
use gesso_plugin_host::{
    Budget, Budgets, CallContext, FolderSource, GrantedFolder, Grants, HookError, HostSettings, NoNetworks,
    NoStores, PluginHost,
};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A running host and the folders it lives in.
pub(crate) struct TestHost {
    pub(crate) host: PluginHost,
    pub(crate) home: TempDir,
    settings: HostSettings,
    folders: Arc<dyn FolderSource>,
}

impl TestHost {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts with budgets small enough for a test and large enough for a busy machine.
    pub(crate) async fn with(change: impl FnOnce(&mut HostSettings)) -> Self {
        Self::with_folders(Arc::new(PlainFolders), change).await
    }

    /// [`Self::with`], where granted folders are these.
    pub(crate) async fn with_folders(
        folders: Arc<dyn FolderSource>,
        change: impl FnOnce(&mut HostSettings),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let short =
            Budget { cpu: Duration::from_millis(400), wall: Duration::from_secs(6), ..Budget::default() };
        let mut settings = HostSettings {
            folder: home.path().join("plugins"),
            state: home.path().join("state"),
            compiler: vec![env!("CARGO_BIN_EXE_gesso-plugin-compiler").into()],
            budgets: Budgets {
                hook: short.clone(),
                script: Budget { wall: Duration::from_secs(20), ..Budget::default() },
                annotator: short.clone(),
                fetcher: short.clone(),
                step: short,
            },
            max_concurrent_calls: 8,
            trusted_keys: Vec::new(),
            grants: BTreeMap::new(),
            tiers: BTreeMap::new(),
            own_paths: ["sdapi".to_owned()].into(),
        };
        change(&mut settings);
        let host =
            PluginHost::start(settings.clone(), folders.clone(), Arc::new(NoNetworks), Arc::new(NoStores))
                .await
                .unwrap();
        Self { host, home, settings, folders }
    }

    /// Ends the host and starts another one in the same folders.
    pub(crate) async fn restart(self) -> Self {
        let Self { host, home, settings, folders } = self;
        host.shutdown().await;
        drop(host);
        let host =
            PluginHost::start(settings.clone(), folders.clone(), Arc::new(NoNetworks), Arc::new(NoStores))
                .await
                .unwrap();
        Self { host, home, settings, folders }
    }

    pub(crate) fn file(&self, id: &str) -> PathBuf {
        self.home.path().join("plugins").join(format!("{id}.wasm"))
    }

    /// Runs the `before` hooks on a request with this prompt and returns the prompt that comes out.
    pub(crate) async fn before(&self, prompt: &str) -> Result<String, HookError> {
        let params = serde_json::json!({ "prompt": prompt }).to_string();
        let before = self.host.before(&CallContext::new("test", 7), params).await?;
        let params: serde_json::Value = serde_json::from_str(&before.params).unwrap();
        Ok(params["prompt"].as_str().unwrap().to_owned())
    }

    /// A GET to an HTTP extension: status and body.
    pub(crate) async fn get(&self, plugin: &str, path: &str) -> Result<(u16, String), HookError> {
        let request = http::Request::get(path).body(Bytes::new()).unwrap();
        let response = self.host.handle_http(&CallContext::new("test", 7), plugin, request).await?;
        let body = String::from_utf8_lossy(response.body()).into_owned();
        Ok((response.status().as_u16(), body))
    }

    pub(crate) async fn wait_until(&self, what: &str, mut holds: impl FnMut(&PluginHost) -> bool) {
        for _ in 0..600 {
            if holds(&self.host) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited 30 s for: {what}; the plugins are {:#?}", self.host.list());
    }
}

/// A hostile or well-behaved guest of `tests/components`.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    built("guests", name)
}

/// A first-party plugin of `plugins`.
pub(crate) fn plugin(name: &str) -> Vec<u8> {
    built("plugins", name)
}

/// One of `examples/plugins`.
pub(crate) fn example(name: &str) -> Vec<u8> {
    built("examples", name)
}

fn built(kind: &str, name: &str) -> Vec<u8> {
    let path = repository().join(".gesso").join(kind).join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run cargo xtask setup", path.display()))
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Grants one folder by name.
pub(crate) fn folder_grant(name: &str, path: &Path) -> Grants {
    Grants { folders: BTreeMap::from([(name.to_owned(), path.to_owned())]), ..Grants::default() }
}

/// Folders as they are; keeping a path inside is the work of the server's implementation and tested there.
struct PlainFolders;

impl FolderSource for PlainFolders {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn GrantedFolder>> {
        std::fs::read_dir(path)?;
        Ok(Arc::new(PlainFolder(path.to_owned())))
    }
}

struct PlainFolder(PathBuf);

impl GrantedFolder for PlainFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.0)?.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        let bytes = std::fs::read(self.0.join(path))?;
        if bytes.len() > max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }
}
