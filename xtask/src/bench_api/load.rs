//! Clients of the services that `bench api` measures: threads that each keep a connection, and listeners that keep a stream
//! of events open. Any answer but the one that was asked for is an error: a refusal is quick, and no measure of anything.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

/// Nothing that is asked for here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One client, with connections of its own.
pub(super) struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    pub(super) fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // What is asked is on this machine, whatever the environment says of the way out.
            .proxy(None)
            .timeout_global(Some(PATIENCE));
        Self { agent: config.build().into(), url: url.to_owned() }
    }

    /// Has a drawing wait to be drawn; its id.
    pub(super) fn submit(&self, drawing: &Value) -> Result<String> {
        let post = self.agent.post(self.absolute("/txt2img")).header("Request-Type", "async");
        let task = json(&text(post.send_json(drawing), "POST /txt2img")?)?;
        ensure!(task["status"] == "waiting", "a task that was submitted does not wait: {task}");
        Ok(task["taskId"].as_str().context("the answer to POST /txt2img has no taskId")?.to_owned())
    }

    /// Has a drawing drawn, and waits for it.
    pub(super) fn draw(&self, drawing: &Value) -> Result<()> {
        let post = self.agent.post(self.absolute("/txt2img"));
        let task = json(&text(post.send_json(drawing), "POST /txt2img")?)?;
        ensure!(task["status"] == "succeeded", "the drawing did not succeed: {task}");
        Ok(())
    }

    /// The same without a request that waits: a task, and the events of it up to its end.
    pub(super) fn follow(&self, drawing: &Value) -> Result<()> {
        let id = self.submit(drawing)?;
        let events = self.get(&format!("/tasks/{id}/events"))?;
        let done = events.rsplit_once("event: task.done").context("the events ended before the task")?.1;
        let data = done.lines().find_map(|line| line.strip_prefix("data:"));
        let task = json(data.context("the last event has no data")?)?;
        ensure!(task["status"] == "succeeded", "the drawing did not succeed: {task}");
        Ok(())
    }

    /// Reads the status of a task, which has to be waiting.
    pub(super) fn read_waiting(&self, id: &str) -> Result<()> {
        let status = self.status(id)?;
        ensure!(status == "waiting", "task {id} does not wait, it is {status}");
        Ok(())
    }

    /// Reads the status of a task, which has not failed.
    pub(super) fn read(&self, id: &str) -> Result<()> {
        let status = self.status(id)?;
        ensure!(["waiting", "running", "succeeded"].contains(&status.as_str()), "task {id} is {status}");
        Ok(())
    }

    /// Returns when a task waits no more.
    pub(super) fn wait_for_begin(&self, id: &str) -> Result<()> {
        let began = Instant::now();
        while self.status(id)? == "waiting" {
            ensure!(began.elapsed() < PATIENCE, "task {id} does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn status(&self, id: &str) -> Result<String> {
        let task = json(&self.get(&format!("/tasks/{id}"))?)?;
        ensure!(task["taskId"] == id, "the answer is of another task than {id}: {task}");
        Ok(task["status"].as_str().context("a task has no status")?.to_owned())
    }

    pub(super) fn cancel(&self, id: &str) -> Result<()> {
        self.post(&format!("/tasks/{id}/cancellation"))
    }

    /// Cancels a task that may have ended by itself.
    pub(super) fn withdraw(&self, id: &str) -> Result<()> {
        let path = format!("/tasks/{id}/cancellation");
        let what = format!("POST {path}");
        let (status, text) = read(self.agent.post(self.absolute(&path)).send_empty(), &what)?;
        ensure!(status.is_success() || status == StatusCode::CONFLICT, "{what} answered {status}: {text}");
        Ok(())
    }

    /// Without a body.
    pub(super) fn post(&self, path: &str) -> Result<()> {
        text(self.agent.post(self.absolute(path)).send_empty(), &format!("POST {path}")).map(drop)
    }

    pub(super) fn get(&self, path: &str) -> Result<String> {
        text(self.agent.get(self.absolute(path)).call(), &format!("GET {path}"))
    }

    fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

type Answered = Result<Response<Body>, ureq::Error>;

/// The text of an answer that does not refuse.
fn text(answer: Answered, what: &str) -> Result<String> {
    let (status, text) = read(answer, what)?;
    ensure!(status.is_success(), "{what} answered {status}: {text}");
    Ok(text)
}

/// The whole answer: a connection is used again only when it was read to its end.
fn read(answer: Answered, what: &str) -> Result<(StatusCode, String)> {
    let mut response = answer.with_context(|| format!("{what} was not answered"))?;
    let status = response.status();
    let text =
        response.body_mut().read_to_string().with_context(|| format!("the answer to {what} broke off"))?;
    Ok((status, text))
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("an answer is not JSON: {text}"))
}

/// What came of many calls.
pub(super) struct Done<T> {
    pub(super) answers: Vec<T>,
    /// How long each took, the shortest first.
    times: Vec<Duration>,
    /// How long all of them took together.
    whole: Duration,
}

/// Calls `work` once with each number below `count`, which is not 0, from `clients` threads with a client each.
pub(super) fn together<T: Send>(
    url: &str,
    clients: usize,
    count: usize,
    work: impl Fn(&Client, usize) -> Result<T> + Sync,
) -> Result<Done<T>> {
    let next = AtomicUsize::new(0);
    let one = || -> Result<Vec<(T, Duration)>> {
        let client = Client::new(url);
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(done);
            }
            let began = Instant::now();
            // Once something went wrong, the others need not go on.
            let answer = work(&client, number).inspect_err(|_| next.store(count, Ordering::Relaxed))?;
            done.push((answer, began.elapsed()));
        }
    };
    let began = Instant::now();
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        // The scope waits for those that are left when one has failed.
        let done = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a client panicked"))));
        done.collect::<Result<Vec<_>>>()
    })?;
    let whole = began.elapsed();
    let (answers, mut times): (Vec<_>, Vec<_>) = done.into_iter().flatten().unzip();
    times.sort_unstable();
    Ok(Done { answers, times, whole })
}

impl<T> Done<T> {
    pub(super) fn per_second(&self) -> f64 {
        self.answers.len() as f64 / self.whole.as_secs_f64()
    }

    /// Seconds of a call.
    pub(super) fn mean(&self) -> f64 {
        self.times.iter().sum::<Duration>().as_secs_f64() / self.times.len() as f64
    }

    /// Milliseconds within which this share of the calls was answered.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let place = (self.times.len() as f64 * share).ceil() as usize;
        self.times[place.saturating_sub(1)].as_secs_f64() * 1000.0
    }
}

/// Streams of Server-Sent Events, which nobody reads further than their first event.
pub(super) struct Listeners(Vec<TcpStream>);

impl Listeners {
    /// One for each of these tasks; returns when each was told where its task is.
    pub(super) fn open(url: &str, ids: &[String]) -> Result<Self> {
        let host =
            url.strip_prefix("http://").with_context(|| format!("{url} is no address to listen to"))?;
        let streams = ids.iter().map(|id| listen(host, id)).collect::<Result<Vec<_>>>();
        Ok(Self(streams.context("listening to the events of a task")?))
    }

    /// An error when the server has let go of one of them meanwhile.
    pub(super) fn check(&self) -> Result<()> {
        let mut buffer = [0; 4096];
        for mut stream in &self.0 {
            stream.set_nonblocking(true)?;
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => bail!("the server let go of a listener"),
                    // A comment that keeps the connection open.
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("the server let go of a listener"),
                }
            }
        }
        Ok(())
    }
}

/// Bare connections: a thousand clients of a library would be what is measured.
fn listen(host: &str, id: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // The server closes it when the events end, so that their end can be seen.
    let request = format!(
        "GET /tasks/{id}/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200 "), "the server answered {:?}", line.trim_end());
    while !line.starts_with("event: task.status") {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the events ended before the first one");
    }
    Ok(reader.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: &str = "http://127.0.0.1:1";

    #[test]
    fn every_number_is_called_once_and_an_error_ends_all() {
        let mut done = together(NOWHERE, 4, 100, |_, number| Ok(number)).unwrap();
        done.answers.sort_unstable();
        assert_eq!(done.answers, (0..100).collect::<Vec<_>>());
        let error = together(NOWHERE, 4, 100, |_, number| {
            ensure!(number != 7, "the seventh");
            Ok(())
        });
        assert_eq!(error.err().unwrap().to_string(), "the seventh");
    }

    #[test]
    fn a_percentile_is_the_time_of_the_call_at_its_place() {
        let times = (1..=200).map(Duration::from_millis).collect();
        let done = Done { answers: vec![(); 200], times, whole: Duration::from_secs(2) };
        let near = |value: f64, wanted: f64| assert!((value - wanted).abs() < 1e-9, "{value}");
        near(done.percentile(0.5), 100.0);
        near(done.percentile(0.99), 198.0);
        near(done.per_second(), 100.0);
        near(done.mean(), 0.1005);
    }

    /// Answers one request on a connection of its own with each of these.
    fn answering(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<()>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut heard = BufReader::new(stream.try_clone().unwrap());
                let (mut line, mut length) = (String::new(), 0);
                while heard.read_line(&mut line).unwrap() > 2 {
                    let said = line.to_ascii_lowercase();
                    length =
                        said.strip_prefix("content-length:").map_or(length, |it| it.trim().parse().unwrap());
                    line.clear();
                }
                heard.read_exact(&mut vec![0_u8; length]).unwrap();
                let (status, body) = answer.split_once('|').unwrap();
                write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{body}").unwrap();
            }
        });
        (url, server)
    }

    #[test]
    fn events_are_followed_to_a_success() {
        const WAITING: &str = r#"200 OK|{"taskId": "a", "status": "waiting"}"#;
        let answers: &[&str] = &[
            WAITING,
            "200 OK|event: task.status\ndata: {\"status\": \"running\"}\n\nevent: task.done\ndata: {\"status\": \"succeeded\"}\n\n",
            WAITING,
            "200 OK|event: task.done\ndata: {\"status\": \"failed\"}\n\n",
            WAITING,
            "200 OK|event: task.status\ndata: {\"status\": \"succeeded\"}\n\n",
        ];
        let (url, server) = answering(answers);
        let follow = || Client::new(&url).follow(&Value::Null).map_err(|error| error.to_string());
        follow().unwrap();
        assert!(follow().unwrap_err().contains("did not succeed"));
        assert!(follow().unwrap_err().contains("ended before the task"));
        server.join().unwrap();
    }

    #[test]
    fn a_task_that_has_ended_is_withdrawn_and_one_that_is_not_there_is_an_error() {
        let (url, server) = answering(&["200 OK|{}", "409 Conflict|it has ended", "404 Not Found|who?"]);
        let client = Client::new(&url);
        client.withdraw("a").unwrap();
        client.withdraw("a").unwrap();
        assert!(client.withdraw("a").unwrap_err().to_string().contains("404 Not Found: who?"));
        server.join().unwrap();
    }

    #[test]
    fn an_answer_that_refuses_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            for answer in ["429 Too Many Requests", "200 OK"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut heard = BufReader::new(stream.try_clone().unwrap()).lines();
                while heard.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                write!(stream, "HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n").unwrap();
            }
        });
        let refused = Listeners::open(&url, &["a".to_owned()]).err().unwrap();
        assert!(format!("{refused:#}").contains("429 Too Many Requests"), "{refused:#}");
        let ended = Listeners::open(&url, &["a".to_owned()]).err().unwrap();
        assert!(format!("{ended:#}").contains("ended before the first one"), "{ended:#}");
        server.join().unwrap();
    }
}
