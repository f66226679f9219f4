//! Starts the real binary on a free port with the demo checkpoint, talks to it and stops it. Every test has a
//! server and a data folder of its own; the server's log goes to the test's output when the test fails.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

mod compiled;

/// Longer than any start-up on a busy machine; a server that is up answers at once.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Longer than anything takes that comes to pass at all, a restart of a server on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);

/// The checkout these tests belong to.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A built guest; the sentence says how to build them.
pub(crate) fn component(folder: &str, name: &str) -> PathBuf {
    let path = checkout().join(".gesso").join(folder).join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing; run `cargo xtask setup`", path.display());
    path
}

/// A reply, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The body of a reply that has to be 200.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// Sends one request; panics only when nothing answers.
pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    try_request(method, url, headers, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

pub(crate) fn try_request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Reply, ureq::Error> {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    // The way is shown to the test, which goes it or not.
    let agent: ureq::Agent = config.max_redirects(0).max_redirects_will_error(false).build().into();
    let mut builder = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut response = agent.run(builder.body(body).unwrap())?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = response.body_mut().with_config().limit(64 << 20).read_to_vec()?;
    Ok(Reply { status: response.status().as_u16(), headers, body })
}

/// A data folder and the ways to start a server on it.
pub(crate) struct Bench {
    pub(crate) data: TempDir,
    data_elsewhere: Option<PathBuf>,
    models: PathBuf,
    pub(crate) plugins: TempDir,
    config: String,
    listen: String,
}

impl Bench {
    /// No plugins, no settings but the folders.
    pub(crate) fn new() -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            data_elsewhere: None,
            models: checkout().join("examples/demo-model"),
            plugins: tempfile::tempdir().unwrap(),
            config: String::new(),
            listen: "127.0.0.1:0".into(),
        }
    }

    /// Another place for the server's data folder.
    pub(crate) fn data_at(mut self, folder: PathBuf) -> Self {
        self.data_elsewhere = Some(folder);
        self
    }

    /// A port that is the same after a restart: one that was free a moment ago, which is all that can be known.
    pub(crate) fn on_one_port(mut self) -> Self {
        let free = std::net::TcpListener::bind(&self.listen).unwrap();
        self.listen = free.local_addr().unwrap().to_string();
        self
    }

    /// Other models than the demo checkpoint.
    pub(crate) fn models_at(mut self, folder: &Path) -> Self {
        self.models = folder.to_owned();
        self
    }

    fn data_folder(&self) -> &Path {
        self.data_elsewhere.as_deref().unwrap_or(self.data.path())
    }

    /// Text for the settings file.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self
    }

    /// Copies a first-party plugin (`plugins`) or a test guest (`guests`) into the plugins folder.
    pub(crate) fn plugin(self, folder: &str, name: &str) -> Self {
        let to = self.plugins.path().join(format!("{name}.wasm"));
        std::fs::copy(component(folder, name), to).unwrap();
        self
    }

    /// The command line of `gesso serve` on these folders.
    pub(crate) fn command(&self) -> Command {
        let config = self.data.path().join("test-settings.toml");
        std::fs::write(&config, &self.config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gesso"));
        command
            // Tests run beside each other, each with a core of its own.
            .args(["serve", "--listen", &self.listen, "--dtype", "f32", "--threads", "1", "--config"])
            .arg(config)
            .arg("--data")
            .arg(self.data_folder())
            .arg("--models")
            .arg(&self.models)
            .arg("--plugins")
            .arg(self.plugins.path());
        command
    }

    /// [`Bench::start`] with more around the command.
    pub(crate) fn start_with(&self, command: Command) -> Server {
        Server::start(command, self.data_folder())
    }

    /// Starts a server and waits for its readiness line.
    pub(crate) fn start(&self) -> Server {
        Server::start(self.command(), self.data_folder())
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    data: PathBuf,
}

impl Server {
    fn start(mut command: Command, data: &Path) -> Self {
        compiled::lend(&data.join("plugins"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (line_tx, line_rx) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                line_tx.send(line).ok();
            }
        });
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match line_rx.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(url) = line.strip_prefix("listening on ") {
                        return Self { child, url: url.to_owned(), data: data.to_owned() };
                    }
                }
                Err(error) => {
                    child.kill().ok();
                    panic!("the server did not come up: {error}, {:?}", child.wait());
                }
            }
        }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        request("GET", &format!("{}{path}", self.url), &[], Vec::new())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_with(path, &[], body)
    }

    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        request("POST", &format!("{}{path}", self.url), &all, body.to_string().into_bytes())
    }

    /// As the admin.
    pub(crate) fn admin(&self, method: &str, path: &str, body: Vec<u8>) -> Reply {
        let key = std::fs::read_to_string(self.data.join("admin-key")).unwrap();
        let bearer = format!("Bearer {}", key.trim());
        request(method, &format!("{}{path}", self.url), &[("authorization", &bearer)], body)
    }

    /// As the admin, with a body of JSON.
    pub(crate) fn admin_json(&self, method: &str, path: &str, body: &str) -> Reply {
        let key = std::fs::read_to_string(self.data.join("admin-key")).unwrap();
        let bearer = format!("Bearer {}", key.trim());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        request(method, &format!("{}{path}", self.url), &headers, body.as_bytes().to_vec())
    }

    /// Submits an async task and returns its id.
    pub(crate) fn submit(&self, body: &Value) -> String {
        let reply = self.post_with("/txt2img", &[("Request-Type", "async")], body).ok();
        assert_eq!(reply["status"], "waiting");
        reply["taskId"].as_str().unwrap().to_owned()
    }

    /// Polls until the task is terminal.
    #[track_caller]
    pub(crate) fn result(&self, id: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let reply = self.get(&format!("/tasks/{id}/result")).ok();
            if !["waiting", "running"].contains(&reply["status"].as_str().unwrap()) {
                return reply;
            }
            assert!(Instant::now() < deadline, "task {id} does not end: {reply}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The bytes behind the first signed URL of a result.
    #[track_caller]
    pub(crate) fn picture(&self, result: &Value) -> Vec<u8> {
        let url = result["ossUrl"][0].as_str().unwrap_or_else(|| panic!("no picture: {result}"));
        let reply = request("GET", url, &[], Vec::new());
        assert_eq!(reply.status, 200);
        reply.body
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGTERM, then the exit status.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// As the power switch would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        compiled::keep(&self.data.join("plugins"));
    }
}

/// A quick request: the demo checkpoint, few steps.
pub(crate) fn quick() -> Value {
    json!({
        "stable_diffusion_model": "demo-v3", "prompt": "mountain landscape during sunset", "steps": 3,
        "width": 64, "height": 64, "seed": 1, "cfg_scale": 5, "sampler_name": "Euler",
    })
}

/// The same with changes.
pub(crate) fn quick_with(changes: Value) -> Value {
    let mut body = quick();
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

/// Width, height and RGB bytes of a PNG, and its infotext.
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) infotext: String,
}

pub(crate) fn decode(png: &[u8]) -> Picture {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut data).unwrap();
    data.truncate(frame.buffer_size());
    let info = reader.info();
    let infotext = info
        .uncompressed_latin1_text
        .iter()
        .find(|chunk| chunk.keyword == "parameters")
        .map_or(String::new(), |chunk| chunk.text.clone());
    Picture { width: frame.width, height: frame.height, data, infotext }
}

/// Waits for what will come to pass.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a command that has to end by itself: exit code, standard output, standard error.
pub(crate) fn run(mut command: Command) -> (i32, String, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).ok();
        text
    });
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let status = child.wait().unwrap();
    (status.code().unwrap_or(-1), output, errors.join().unwrap())
}
