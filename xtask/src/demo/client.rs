//! The few HTTP calls the demonstration makes, in the serverless dialect: submit, watch, result, signed URL.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use ureq::Agent;

use crate::meter::{Meter, Unit};

pub(super) struct Client {
    agent: Agent,
    url: String,
}

pub(super) struct Drawn {
    /// The body of `GET /tasks/{id}/result`.
    pub(super) result: Value,
    /// Steps per second while sampling; `None` when the picture came too fast to see three steps pass.
    pub(super) sampling: Option<f64>,
    /// From the request to the finished task.
    pub(super) whole: Duration,
}

/// Between two looks at the progress; 20 steps of the demo checkpoint take about a second.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A picture of 20 steps that takes longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(300);

impl Client {
    pub(super) fn new(url: &str) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        Self { agent: config.build().into(), url: url.to_owned() }
    }

    pub(super) fn absolute(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) }
    }

    /// Submits and waits, with a bar; `alive` is asked between looks and ends the wait with its error.
    pub(super) fn draw(
        &self,
        request: &Value,
        steps: u64,
        mut alive: impl FnMut() -> Result<()>,
    ) -> Result<Drawn> {
        let start = Instant::now();
        let post = self.agent.post(self.absolute("/txt2img")).header("Request-Type", "async");
        let submitted = body(post.send_json(request), "POST /txt2img")?;
        let id = submitted["taskId"].as_str().context("the answer to POST /txt2img has no taskId")?;
        let mut meter = Meter::new("drawing", steps, Unit::Steps);
        let mut pace = Pace::default();
        loop {
            alive()?;
            let result = self.get(&format!("/tasks/{id}/result"))?;
            match result["status"].as_str() {
                Some("succeeded") => {
                    meter.set(steps);
                    let sampling = pace.per_second(steps);
                    return Ok(Drawn { result, sampling, whole: start.elapsed() });
                }
                Some("waiting" | "running") => {}
                _ => bail!("the task did not succeed: {result}"),
            }
            ensure!(start.elapsed() < PATIENCE, "no picture after {} s", PATIENCE.as_secs());
            let progress = self.get(&format!("/tasks/{id}/progress"))?;
            let fraction = progress["progress"].as_f64().context("the progress is no number")?;
            pace.see(start.elapsed(), fraction);
            meter.set((fraction * steps as f64) as u64);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn get(&self, path: &str) -> Result<Value> {
        body(self.agent.get(self.absolute(path)).call(), &format!("GET {path}"))
    }

    /// The bytes behind a signed URL.
    pub(super) fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let mut response = self.agent.get(url).call().with_context(|| format!("{url} was not answered"))?;
        ensure!(response.status().is_success(), "{url} answered {}", response.status());
        response.body_mut().read_to_vec().with_context(|| format!("{url} broke off"))
    }
}

fn body(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>, what: &str) -> Result<Value> {
    let mut response = answer.with_context(|| format!("{what} was not answered"))?;
    let status = response.status();
    let text =
        response.body_mut().read_to_string().with_context(|| format!("the answer to {what} broke off"))?;
    ensure!(status.is_success(), "{what} answered {status}: {text}");
    serde_json::from_str(&text).with_context(|| format!("{what} answered something that is not JSON: {text}"))
}

/// First and last look at which the progress moved; between them only sampling happened.
#[derive(Default)]
struct Pace {
    first: Option<(Duration, f64)>,
    last: Option<(Duration, f64)>,
}

impl Pace {
    fn see(&mut self, time: Duration, fraction: f64) {
        if fraction <= 0.0 || self.last.is_some_and(|(_, before)| fraction <= before) {
            return;
        }
        self.first.get_or_insert((time, fraction));
        self.last = Some((time, fraction));
    }

    fn per_second(&self, steps: u64) -> Option<f64> {
        let ((begin, from), (end, to)) = (self.first?, self.last?);
        let seen = (to - from) * steps as f64;
        (seen >= 3.0).then(|| seen / (end - begin).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_taken_between_the_first_and_the_last_move() {
        let mut pace = Pace::default();
        let looks = [(100, 0.0), (1000, 0.1), (1500, 0.35), (2000, 0.6), (5000, 0.6)];
        for (milliseconds, fraction) in looks {
            pace.see(Duration::from_millis(milliseconds), fraction);
        }
        assert!((pace.per_second(20).unwrap() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn too_few_steps_seen_are_no_pace() {
        let mut pace = Pace::default();
        pace.see(Duration::from_millis(10), 0.5);
        assert_eq!(pace.per_second(20), None);
    }

    #[test]
    fn a_path_gets_the_servers_address_and_a_url_stays() {
        let client = Client::new("http://127.0.0.1:1");
        assert_eq!(client.absolute("/files/a?x=1"), "http://127.0.0.1:1/files/a?x=1");
        assert_eq!(client.absolute("https://bucket.invalid/a"), "https://bucket.invalid/a");
    }
}
