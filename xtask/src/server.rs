//! Starts the real server binary for `demo`, the client test and benches, waits until it listens, and ends it with a drain.
//! Knows its contract only: `GESSO_LISTEN`, `GESSO_DATA`, the line on standard output, SIGTERM.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::last_lines;

const READY: &str = "listening on ";

pub(crate) struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`, as the server printed it.
    pub(crate) url: String,
    log: PathBuf,
}

impl Server {
    /// `listen` may end in `:0` for a free port; `folder` gets `data/` and `server.log`. Started in `checkout`, so
    /// that it serves the demo checkpoint and the first-party plugins. Returns when the server says that it listens;
    /// one that ends or stays silent is an error with the end of its log.
    pub(crate) fn start(
        binary: &Path,
        checkout: &Path,
        listen: &str,
        folder: &Path,
        patience: Duration,
    ) -> Result<Self> {
        Self::launch(Self::command(binary, checkout, listen, folder), folder, patience)
    }

    /// What [`Server::start`] runs, for those who add to it.
    pub(crate) fn command(binary: &Path, checkout: &Path, listen: &str, folder: &Path) -> Command {
        let mut command = Command::new(binary);
        // Settings of the person's own server would change what is shown and tested.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GESSO_") {
                command.env_remove(&name);
            }
        }
        command
            .arg("serve")
            .current_dir(checkout)
            .env("GESSO_LISTEN", listen)
            .env("GESSO_DATA", folder.join("data"));
        command
    }

    /// Starts a program that says where it listens, and ends, as the server does. `folder` gets `server.log`.
    pub(crate) fn launch(mut command: Command, folder: &Path, patience: Duration) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let log = folder.join("server.log");
        let mut file = File::create(&log)?;
        let mut child = command
            // Of its own group: Ctrl-C reaches this program, which then asks the server to drain, once.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.try_clone()?)
            .spawn()
            .with_context(|| format!("{} could not be started", command.get_program().display()))?;
        let output = child.stdout.take().context("the server's output was not piped")?;
        let (sender, lines) = channel();
        // An ordinary thread: it copies the server's output to the log until the server ends.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once(READY) {
                    // Nobody listens once the server is known to be ready, and that is well.
                    sender.send(url.trim().to_owned()).ok();
                }
                writeln!(file, "{line}").ok();
            }
        });
        let mut server = Self { child, url: String::new(), log };
        match lines.recv_timeout(patience) {
            Ok(url) => {
                server.url = url;
                Ok(server)
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = server.child.wait()?;
                bail!("the server ended before it listened ({status}). {}", server.last_words())
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("the server did not listen within {} s. {}", patience.as_secs(), server.last_words())
            }
        }
    }

    /// The end of the log, for messages.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!("The end of its log, {}:\n{}", self.log.display(), last_lines(&log, 20))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.log.with_file_name("data")
    }

    /// Bytes that the process has in memory.
    pub(crate) fn resident(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&file).with_context(|| format!("{file} cannot be read"))?;
        resident(&text).with_context(|| format!("{file} has no VmRSS"))
    }

    /// The status, when the server has ended by itself.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGTERM, then waits for the drain; an unclean end is an error.
    pub(crate) fn stop(mut self, patience: Duration) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).context("the server could not be asked to stop")?;
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the server did not end cleanly ({status}). {}", self.last_words());
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server had not drained after {} s. {}", patience.as_secs(), self.last_words())
    }
}

impl Drop for Server {
    /// No command leaves a server behind, whichever way it failed.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Of the text of `/proc/PID/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A shell script in the place of the server, for ends that the real one must not have.
    fn start(folder: &Path, text: &str) -> Result<Server> {
        let file = folder.join("server.sh");
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        Server::start(&file, folder, "unused", folder, Duration::from_secs(20))
    }

    #[test]
    fn reads_the_address_and_stops_with_a_drain() {
        let folder = tempfile::tempdir().unwrap();
        let text = "trap 'echo drained >&2; exit 0' TERM\necho listening on http://127.0.0.1:1\n\
                    while :; do sleep 0.05; done";
        let server = start(folder.path(), text).unwrap();
        assert_eq!(server.url, "http://127.0.0.1:1");
        server.stop(Duration::from_secs(20)).unwrap();
        assert!(fs::read_to_string(folder.path().join("server.log")).unwrap().contains("drained"));
    }

    #[test]
    fn a_server_that_ends_early_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let error = start(folder.path(), "echo the port is taken >&2; exit 2").err().unwrap().to_string();
        assert!(error.contains("exit status: 2") && error.contains("the port is taken"), "{error}");
    }

    #[test]
    fn an_unclean_end_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let text = "trap 'exit 7' TERM\necho listening on http://127.0.0.1:1\nwhile :; do sleep 0.05; done";
        let server = start(folder.path(), text).unwrap();
        let error = server.stop(Duration::from_secs(20)).unwrap_err().to_string();
        assert!(error.contains("exit status: 7"), "{error}");
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(resident("VmHWM:\t  900 kB\nVmRSS:\t   12 kB\nThreads:\t4\n"), Some(12 * 1024));
        assert_eq!(resident("Name:\tzombie\n"), None);
    }
}
