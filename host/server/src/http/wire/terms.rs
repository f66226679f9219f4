//! What a request's headers say about the task that it becomes: its id, whether to wait for it, how long it may take.

use std::time::Duration;

use axum::http::HeaderMap;
use gesso_core::ids::TaskId;
use gesso_store::tasks::TERM_LIMIT;
use utoipa::IntoParams;

use super::fields::FieldProblem;

/// A sync request waits no longer than this when it says how long.
const WAIT_SECONDS_MAX: u64 = 600;
/// A week: the most that a task may be given to begin, or to end.
pub(crate) const SECONDS_MAX: u64 = 604_800;
const KEY_CHARS: std::ops::RangeInclusive<usize> = 8..=128;
const PRIORITY_MAX: i32 = 100;

/// How ids of tasks begin that are made of an `Idempotency-Key`, and how many hexadecimal digits follow.
pub(crate) const KEY_ID: &str = "key-";
pub(crate) const KEY_ID_DIGITS: usize = 40;

/// The headers of a request that becomes a task.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(
    dead_code,
    reason = "for the document alone: `RequestTerms::of` reads them, with a sentence for each problem"
)]
pub(crate) struct TermHeaders {
    /// sync (default) or async.
    #[param(rename = "Request-Type")]
    request_type: Option<String>,
    /// true keeps a sync task going when the client leaves.
    #[param(rename = "Task-Flag")]
    task_flag: Option<String>,
    /// respond-async, or wait=N: the result, or the task after N seconds.
    #[param(rename = "Prefer")]
    prefer: Option<String>,
    /// The task id to use.
    #[param(rename = "taskId")]
    task_id: Option<String>,
    /// 8 to 128 characters; the same key and body are the same task.
    #[param(rename = "Idempotency-Key", min_length = 8, max_length = 128)]
    idempotency_key: Option<String>,
    /// -100 to 100, higher first; above 0 for operators.
    #[param(rename = "Task-Priority", minimum = -100, maximum = 100)]
    priority: Option<i32>,
    /// Seconds; a task that has not begun by then expires.
    #[param(rename = "Task-Start-Within", minimum = 1, maximum = 604_800)]
    start_within: Option<u64>,
    /// Seconds from its beginning; a task that has not ended by then fails.
    #[param(rename = "Task-Timeout", minimum = 1, maximum = 604_800)]
    timeout: Option<u64>,
    /// true: a task whose attempt ends because the server does, or for a passing shortage, fails and is not tried again.
    #[param(rename = "Task-No-Retry")]
    no_retry: Option<bool>,
    /// A URL that is told when the task has ended.
    #[param(rename = "Task-Webhook")]
    webhook: Option<String>,
}

/// As the headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestTerms {
    /// `taskId`: the client's own choice.
    pub(crate) id: Option<TaskId>,
    /// `Idempotency-Key`: the same key and body are the same task.
    pub(crate) idempotency_key: Option<String>,
    /// What the owner calls the task; no header says it.
    pub(crate) name: Option<String>,
    /// `Task-Priority`: higher runs first.
    pub(crate) priority: i32,
    /// `Task-Start-Within`, seconds: a task that has not begun by then expires.
    pub(crate) start_within: Option<Duration>,
    /// `Task-Timeout`, seconds: a task that has not ended by then fails.
    pub(crate) timeout: Option<Duration>,
    /// `Task-No-Retry: true`: a task whose attempt ends without a result is not tried again.
    pub(crate) no_retry: bool,
    /// `Task-Webhook`: a URL that is told when the task has ended.
    pub(crate) webhook: Option<String>,
    /// `Task-Flag: true`: the task goes on when the client leaves.
    pub(crate) is_flagged: bool,
    pub(crate) wait: Wait,
}

/// What the client waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The result.
    #[default]
    Result,
    /// `Prefer: wait=N`: the result, or so long.
    AtMost(Duration),
    /// `Request-Type: async` or `Prefer: respond-async`: nothing. `accepted` answers 202, as HTTP has it.
    Nothing { accepted: bool },
}

impl Wait {
    /// As the headers say; what cannot be read is nothing that was said.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if text(headers, "Request-Type") == Some("async") {
            return Self::Nothing { accepted: false };
        }
        // RFC 7240; what is not understood is ignored, as it says.
        let prefers = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let mut preferred = Self::Result;
        for part in prefers.flat_map(|value| value.split([',', ';'])).map(str::trim) {
            if part.eq_ignore_ascii_case("respond-async") {
                return Self::Nothing { accepted: true };
            }
            let seconds = part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("wait"));
            if let Some(seconds) = seconds.and_then(|(_, seconds)| seconds.trim().parse::<u64>().ok()) {
                preferred = Self::AtMost(Duration::from_secs(seconds.min(WAIT_SECONDS_MAX)));
            }
        }
        preferred
    }
}

impl RequestTerms {
    /// # Errors
    /// Every header that cannot be read.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let mut wrong = |name: &str, message: String| {
            problems.push(FieldProblem { field: name.into(), message: format!("{name}: {message}") });
        };
        let mut terms = Self::default();
        if let Some(text) = text(headers, "taskId") {
            match TaskId::parse(text) {
                Ok(id) if is_of_a_key(&id) => wrong(
                    "taskId",
                    format!(
                        "ids of {KEY_ID} and {KEY_ID_DIGITS} hexadecimal digits are those of an Idempotency-Key; send that \
                         header, or another id"
                    ),
                ),
                Ok(id) => terms.id = Some(id),
                Err(error) => wrong("taskId", error.to_string()),
            }
        }
        if let Some(key) = text(headers, "Idempotency-Key") {
            let is_one = KEY_CHARS.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
            match (is_one, &terms.id) {
                (true, None) => terms.idempotency_key = Some(key.into()),
                (true, Some(_)) => wrong("Idempotency-Key", "leave it out where taskId is sent".into()),
                (false, _) => wrong("Idempotency-Key", "it must be 8 to 128 visible characters".into()),
            }
        }
        for (name, into) in
            [("Task-Start-Within", &mut terms.start_within), ("Task-Timeout", &mut terms.timeout)]
        {
            let Some(text) = text(headers, name) else { continue };
            match text.parse::<u64>() {
                Ok(seconds @ 1..=SECONDS_MAX) => *into = Some(Duration::from_secs(seconds)),
                _ => wrong(name, format!("it must be whole seconds between 1 and {SECONDS_MAX}")),
            }
        }
        if let Some(text) = text(headers, "Task-Priority") {
            match text.parse::<i32>() {
                Ok(priority) if (-PRIORITY_MAX..=PRIORITY_MAX).contains(&priority) => {
                    terms.priority = priority
                }
                _ => wrong("Task-Priority", format!("it must be between -{PRIORITY_MAX} and {PRIORITY_MAX}")),
            }
        }
        match text(headers, "Task-No-Retry").map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => {}
            Some("true") => terms.no_retry = true,
            Some(_) => wrong("Task-No-Retry", "it must be true or false".into()),
        }
        match text(headers, "Task-Webhook") {
            Some(url) if url.len() > TERM_LIMIT => {
                wrong("Task-Webhook", format!("it is longer than {TERM_LIMIT} bytes"));
            }
            url => terms.webhook = url.map(str::to_owned),
        }
        terms.is_flagged = text(headers, "Task-Flag").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
        terms.wait = Wait::of(headers);
        if problems.is_empty() { Ok(terms) } else { Err(problems) }
    }

    /// Whether the task goes on when the client leaves.
    pub(crate) fn outlives_client(&self) -> bool {
        // Who names a task means to come back for it.
        self.is_flagged
            || self.idempotency_key.is_some()
            || self.webhook.is_some()
            || self.wait != Wait::Result
    }
}

/// Whether an id is one that only an `Idempotency-Key` makes. It is no secret: whoever knew a user's next key could take its id
/// before them.
pub(crate) fn is_of_a_key(id: &TaskId) -> bool {
    let digits = id.as_str().strip_prefix(KEY_ID).and_then(|rest| rest.get(..KEY_ID_DIGITS));
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<RequestTerms, Vec<String>> {
        let pairs = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        RequestTerms::of(&pairs.collect())
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn clients_wait_as_they_prefer() {
        let wait = |headers: &[(&'static str, &str)]| read(headers).unwrap().wait;
        assert_eq!(wait(&[]), Wait::Result);
        assert_eq!(wait(&[("request-type", "sync")]), Wait::Result);
        assert_eq!(wait(&[("request-type", "async")]), Wait::Nothing { accepted: false });
        assert_eq!(wait(&[("prefer", "handling=lenient, respond-async")]), Wait::Nothing { accepted: true });
        assert_eq!(wait(&[("prefer", "wait=5")]), Wait::AtMost(Duration::from_secs(5)));
        assert_eq!(wait(&[("prefer", "wait = 9999")]), Wait::AtMost(Duration::from_secs(600)));
        assert_eq!(wait(&[("prefer", "wait=x")]), Wait::Result);
    }

    #[test]
    fn the_document_says_the_bounds_that_are_held() {
        let headers = serde_json::to_value(TermHeaders::into_params(|| None)).unwrap();
        let headers = headers.as_array().unwrap();
        let of = |name: &str| &headers.iter().find(|header| header["name"] == name).unwrap()["schema"];
        for name in ["Task-Start-Within", "Task-Timeout"] {
            assert_eq!(of(name)["maximum"], SECONDS_MAX, "{name}");
        }
        let priority = of("Task-Priority");
        assert_eq!(priority["minimum"], -PRIORITY_MAX);
        assert_eq!(priority["maximum"], PRIORITY_MAX);
        let key = of("Idempotency-Key");
        assert_eq!(key["minLength"], *KEY_CHARS.start());
        assert_eq!(key["maxLength"], *KEY_CHARS.end());
    }

    #[test]
    fn every_header_that_cannot_be_read_is_named() {
        let headers = [
            ("taskid", "a b"),
            ("idempotency-key", "short"),
            ("task-timeout", "0"),
            ("task-start-within", "soon"),
            ("task-priority", "-2147483648"),
            ("task-no-retry", "yes"),
        ];
        let wrong = read(&headers).unwrap_err();
        assert_eq!(
            wrong,
            [
                "taskId",
                "Idempotency-Key",
                "Task-Start-Within",
                "Task-Timeout",
                "Task-Priority",
                "Task-No-Retry"
            ]
        );
        let no_retry = |text| read(&[("task-no-retry", text)]).unwrap().no_retry;
        assert!(no_retry("True") && !no_retry("false") && !read(&[]).unwrap().no_retry);
        let of_a_key = format!("key-{}-20000", "0a".repeat(20));
        assert_eq!(read(&[("taskid", &of_a_key)]).unwrap_err(), ["taskId"]);
        assert!(read(&[("taskid", "key-4711")]).unwrap().id.is_some());
        let both = [("taskid", "mine"), ("idempotency-key", "12345678")];
        assert_eq!(read(&both).unwrap_err(), ["Idempotency-Key"]);
    }
}
