//! Turns a component into loaded machine code: from the cache where its MAC holds, else through the compile worker.
//! Called by `load`. The server process itself never compiles.

use crate::compile_worker::{EXIT_REFUSED, MAX_ARTIFACT_BYTES, sha256_hex};
use crate::confine::Confinement;
use crate::deserialize::{self, TrustedArtifact};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A worker that takes longer is killed.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);
const MAC_BYTES: usize = 32;
/// Part of every artifact's name; raise it when the artifact's layout changes.
const LAYOUT: &str = "gesso-artifact-1";

#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// The component is at fault.
    #[error("{0}")]
    Refused(String),
    /// The machine or the set-up is at fault.
    #[error("the compile worker {0}")]
    Worker(String),
}

pub(crate) struct Compiler {
    command: Vec<OsString>,
    cache: PathBuf,
    key: [u8; 32],
    engine: Engine,
    /// How long the worker may take.
    patience: Duration,
    /// Of the one worker that there is at a time: each may take gigabytes.
    turn: tokio::sync::Mutex<()>,
    /// What the first worker that told it gave up; all run on one kernel.
    confinement: OnceLock<Confinement>,
}

impl Compiler {
    /// Makes the cache folder and its key where they are missing.
    pub(crate) fn new(engine: Engine, command: Vec<OsString>, state: &Path) -> io::Result<Self> {
        let cache = state.join("cache");
        private_folder(&cache)?;
        let key = read_or_make_key(&state.join("artifact.key"))?;
        Ok(Self {
            command,
            cache,
            key,
            engine,
            patience: COMPILE_TIMEOUT,
            turn: tokio::sync::Mutex::default(),
            confinement: OnceLock::new(),
        })
    }

    pub(crate) fn confinement(&self) -> Option<Confinement> {
        self.confinement.get().copied()
    }

    /// Whether it was compiled before. What lies there may yet prove to be somebody else's.
    pub(crate) fn has(&self, digest: &str) -> bool {
        self.artifact(&self.artifact_name(digest)).is_file()
    }

    fn artifact(&self, name: &str) -> PathBuf {
        self.cache.join(format!("{name}.artifact"))
    }

    /// The component as machine code. `digest` is its SHA-256 in hex.
    pub(crate) async fn compile(&self, bytes: &[u8], digest: &str) -> Result<Component, CompileError> {
        let name = self.artifact_name(digest);
        let path = self.artifact(&name);
        if let Some(component) = self.known(&path, &name, digest) {
            return Ok(component);
        }
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have compiled the same.
        if let Some(component) = self.known(&path, &name, digest) {
            return Ok(component);
        }
        let compiled = self.run_worker(bytes, digest, &name).await?;
        if let Err(error) = self.keep(&path, &name, &compiled) {
            tracing::warn!(%error, path = %path.display(), "a compiled plugin could not be cached");
        }
        deserialize::component(&self.engine, &TrustedArtifact::vouch(compiled))
            .map_err(|error| CompileError::Worker(format!("wrote an artifact that does not load: {error:#}")))
    }

    /// What was compiled before.
    fn known(&self, path: &Path, name: &str, digest: &str) -> Option<Component> {
        let loaded = deserialize::component(&self.engine, &self.cached(path, name)?);
        loaded
            .inspect_err(
                |error| tracing::info!(%error, digest, "a cached plugin does not fit; compiling again"),
            )
            .ok()
    }

    /// Deletes what is cached of other components than these, and what a killed worker left.
    pub(crate) fn prune<'a>(&self, digests: impl Iterator<Item = &'a str>) {
        let keep: HashSet<String> =
            digests.map(|digest| format!("{}.artifact", self.artifact_name(digest))).collect();
        for file in std::fs::read_dir(&self.cache).into_iter().flatten().flatten() {
            if !file.file_name().to_str().is_some_and(|name| keep.contains(name)) {
                // What cannot be deleted now is tried again at the next start.
                let _ = std::fs::remove_file(file.path());
            }
        }
    }

    /// Covers everything that decides what the artifact holds: the component, wasmtime's version, the configuration
    /// and the processor.
    fn artifact_name(&self, digest: &str) -> String {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        sha256_hex(format!("{LAYOUT} {digest} {:016x}", hasher.finish()).as_bytes())
    }

    fn mac(&self, name: &str, artifact: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(name.as_bytes());
        mac.update(artifact);
        mac
    }

    fn cached(&self, path: &Path, name: &str) -> Option<TrustedArtifact> {
        let mut file = std::fs::File::open(path).ok()?;
        let mut bytes = read_bounded(&mut file, MAX_ARTIFACT_BYTES + MAC_BYTES as u64).ok()?;
        if bytes.len() < MAC_BYTES {
            return None;
        }
        let artifact = bytes.split_off(MAC_BYTES);
        if self.mac(name, &artifact).verify_slice(&bytes).is_err() {
            tracing::warn!(path = %path.display(), "a cached plugin was changed by someone else; compiling again");
            return None;
        }
        Some(TrustedArtifact::vouch(artifact))
    }

    fn keep(&self, path: &Path, name: &str, artifact: &[u8]) -> io::Result<()> {
        let mac = self.mac(name, artifact).finalize().into_bytes();
        write_atomically(path, &[mac.as_slice(), artifact])
    }

    async fn run_worker(&self, bytes: &[u8], digest: &str, name: &str) -> Result<Vec<u8>, CompileError> {
        let worker =
            |what: &str, error: &dyn std::fmt::Display| CompileError::Worker(format!("{what}: {error}"));
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(CompileError::Worker("is not configured".to_owned()));
        };
        let output = self.cache.join(format!("{name}.{}.tmp", std::process::id()));
        let _cleanup = RemoveOnDrop(&output);
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).arg("--output").arg(&output).arg("--sha256").arg(digest);
        // Nothing of the server's environment, which may hold keys; only where the loader finds libraries.
        command.env_clear().envs(std::env::var_os("LD_LIBRARY_PATH").map(|value| ("LD_LIBRARY_PATH", value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| worker("does not start", &error))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A worker that refuses early closes the pipe; its exit status tells.
                let _ = stdin.write_all(bytes).await;
            }
        };
        let work = async { tokio::join!(feed, beginning(stdout), beginning(stderr), child.wait()) };
        let patience = self.patience;
        let Ok(((), told, said, status)) = tokio::time::timeout(patience, work).await else {
            return Err(CompileError::Refused(format!("compiling it takes longer than {patience:?}")));
        };
        let status = status.map_err(|error| worker("cannot be waited for", &error))?;
        self.note_confinement(&told, status.success());
        if !status.success() {
            let said = String::from_utf8_lossy(&said);
            let reason = crate::log::tidy(said.trim(), 1024);
            return Err(if status.code() == Some(i32::from(EXIT_REFUSED)) {
                CompileError::Refused(reason)
            } else {
                CompileError::Refused(format!("compiling it ended with {status}: {reason}"))
            });
        }
        let mut file = std::fs::File::open(&output).map_err(|error| worker("wrote nothing", &error))?;
        read_bounded(&mut file, MAX_ARTIFACT_BYTES)
            .map_err(|error| worker("wrote something unreadable", &error))
    }

    /// Keeps what a worker told of itself before it read a component, and warns once where that falls short.
    fn note_confinement(&self, told: &[u8], has_compiled: bool) {
        let told = String::from_utf8_lossy(told);
        let told = told.lines().find_map(|line| serde_json::from_str::<Confinement>(line).ok());
        // One that compiles and tells nothing has given up nothing that anybody knows of.
        let Some(confinement) = told.or(has_compiled.then(Confinement::default)) else { return };
        if self.confinement.set(confinement).is_ok()
            && let Some(keeps) = confinement.keeps()
        {
            tracing::warn!(
                keeps,
                "the process that compiles plugins cannot give up what it should, for want of Landlock or seccomp; until \
                 it runs on a kernel and in a container that have both, install plugins of people alone whom you trust"
            );
        }
    }
}

/// What a worker says first, of as much as it says.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut said = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(4096).read_to_end(&mut said).await;
    }
    said
}

struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// A folder that only this user can enter, made where it is missing and tightened where it is not.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Reads at most `most` bytes; more is an error.
pub(crate) fn read_bounded(file: &mut std::fs::File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// Writes beside `path`, syncs and renames, so that a reader sees the old file or the new one.
pub(crate) fn write_atomically(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let cleanup = RemoveOnDrop(&temporary);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    drop(cleanup);
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    if let Ok(mut file) = std::fs::File::open(path)
        && let Ok(key) = <[u8; 32]>::try_from(read_bounded(&mut file, 32)?)
    {
        return Ok(key);
    }
    let mut key = [0u8; 32];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    write_atomically(path, &[&key])?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn a_worker_that_never_comes_back_is_refused_and_killed() {
        let state = tempfile::tempdir().unwrap();
        let started = state.path().join("started");
        // Reads nothing, and says who it is.
        let script = format!("echo $$ > '{}'; exec sleep 600", started.display());
        let command = ["/bin/sh", "-c", script.as_str()].map(OsString::from).to_vec();
        let engine = Engine::default();
        let compiler = Compiler::new(engine, command, state.path()).unwrap();
        let compiler = Compiler { patience: Duration::from_secs(2), ..compiler };
        // More than a pipe holds.
        let began = Instant::now();
        let ended = compiler.compile(&vec![0; 1 << 20], "00").await;
        let Err(CompileError::Refused(reason)) = ended else { panic!("it compiled") };
        assert_eq!(reason, "compiling it takes longer than 2s");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let process = std::fs::read_to_string(started).unwrap();
        // One that has ended, and that nobody has asked for yet, has no command line any more.
        let line = PathBuf::from(format!("/proc/{}/cmdline", process.trim()));
        while std::fs::read(&line).is_ok_and(|line| !line.is_empty()) {
            assert!(began.elapsed() < Duration::from_secs(20), "it goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(std::fs::read_dir(state.path().join("cache")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_worker_says_first_of_its_confinement_is_kept_also_where_it_refuses() {
        let state = tempfile::tempdir().unwrap();
        let script = r#"echo '{"files":false,"calls":true}'; echo '{"files":true,"calls":true}'; echo no >&2; exit 65"#;
        let command = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
        let compiler = Compiler::new(Engine::default(), command, state.path()).unwrap();
        assert_eq!(compiler.confinement(), None);
        let Err(CompileError::Refused(reason)) = compiler.compile(b"a", "00").await else { panic!() };
        assert_eq!(reason, "no");
        let kept = compiler.confinement().unwrap();
        assert_eq!(kept, Confinement { files: false, calls: true });
        assert_eq!(kept.keeps(), Some("files"));
    }

    #[test]
    fn a_worker_that_compiles_and_says_nothing_counts_as_unconfined() {
        let state = tempfile::tempdir().unwrap();
        let compiler = Compiler::new(Engine::default(), Vec::new(), state.path()).unwrap();
        compiler.note_confinement(b"", false);
        assert_eq!(compiler.confinement(), None);
        compiler.note_confinement(b"", true);
        assert_eq!(compiler.confinement(), Some(Confinement::default()));
    }
}
