//! The bytes of a stored task and their version. Called by the trees and the backup. These types are the contract
//! with older files: a change of meaning is a new version beside the old one, never an edit.
//!
//! Version 1: one byte `1`, the length of the JSON as four little-endian bytes, the JSON, then the inline payload
//! as it is (escaping it into the JSON could double its size and break the record limit).

use std::ops::RangeInclusive;

use gesso_core::ids::TaskId;
use serde::{Deserialize, Serialize};

use crate::keys::ObjectKey;
use crate::tasks::rules::{Entry, Holder};
use crate::tasks::{
    Notice, Outcome, Payload, RECORD_LIMIT, Task, TaskError, TaskProblem, TaskState, TaskStoreError, Terms,
};

const VERSION: u8 = 1;
const HEADER: usize = 5;
/// The most keys one range stands for: reading a damaged one must not fill the memory.
const RANGE_MAX: usize = 10_000;

/// Refuses entries over the record limit.
pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, TaskStoreError> {
    let (record, payload) = RecordV1::from_entry(entry);
    let json = serde_json::to_vec(&record)
        .map_err(|error| TaskStoreError::Invalid(format!("the task cannot be written: {error}")))?;
    let bytes = HEADER + json.len() + payload.len();
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    if bytes > RECORD_LIMIT {
        return Err(TaskStoreError::TooLarge { bytes, limit: RECORD_LIMIT });
    }
    let mut record = Vec::with_capacity(bytes);
    record.push(VERSION);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&json);
    record.extend_from_slice(payload.as_bytes());
    Ok(record)
}

/// An error means damage, or a file written by a newer version.
pub(super) fn decode(bytes: &[u8]) -> Result<Entry, TaskStoreError> {
    match bytes.first() {
        Some(&VERSION) => decode_v1(bytes),
        Some(version) => Err(TaskStoreError::Corrupt(format!(
            "a task record has version {version}, which is newer than this server or damaged"
        ))),
        None => Err(TaskStoreError::Corrupt("a task record is empty".to_owned())),
    }
}

fn decode_v1(bytes: &[u8]) -> Result<Entry, TaskStoreError> {
    let parts = bytes.get(1..HEADER).and_then(|length| <[u8; 4]>::try_from(length).ok()).and_then(|length| {
        bytes[HEADER..].split_at_checked(usize::try_from(u32::from_le_bytes(length)).ok()?)
    });
    let Some((json, payload)) = parts else {
        return Err(TaskStoreError::Corrupt("a task record ends too early".to_owned()));
    };
    let record: RecordV1 = serde_json::from_slice(json)
        .map_err(|error| TaskStoreError::Corrupt(format!("a task record cannot be read: {error}")))?;
    let payload = std::str::from_utf8(payload)
        .map_err(|_| TaskStoreError::Corrupt("the payload of a task record is not text".to_owned()))?;
    record.into_entry(payload)
}

#[derive(Serialize, Deserialize)]
struct RecordV1 {
    id: String,
    kind: String,
    owner: String,
    priority: i32,
    /// Absent when the payload is inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    state: StateV1,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cancel_requested: bool,
    attempt: u32,
    created_ms: u64,
    updated_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<OutcomeV1>,
    revision: u64,
    sequence: u64,
    lost_attempts: u32,
    /// Absent in records of before they were counted.
    #[serde(default)]
    shortages: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<HolderV1>,
    #[serde(default, skip_serializing_if = "TermsV1::is_empty")]
    terms: TermsV1,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notice: Option<NoticeV1>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    files_gone: bool,
    /// Absent when it is the sequence: the task was never moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<u64>,
}

/// Absent in records of before they were known, which asked for none.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct TermsV1 {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_by_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ms_max: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_retry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

impl TermsV1 {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Serialize, Deserialize)]
struct NoticeV1 {
    attempts: u32,
    due_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateV1 {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Canceled,
    Expired,
}

#[derive(Serialize, Deserialize)]
struct OutcomeV1 {
    /// Object keys; a leading `~` stands for `images/{owner}/{id}`, and `~_1-40.png` for the forty from `~_1.png` to
    /// `~_40.png`, so that thousands of pictures fit a record. A server that knows no ranges refuses them as no keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    images: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorV1>,
}

#[derive(Serialize, Deserialize)]
struct ErrorV1 {
    code: String,
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemV1>,
}

#[derive(Serialize, Deserialize)]
struct ProblemV1 {
    field: String,
    message: String,
}

#[derive(Serialize, Deserialize)]
struct HolderV1 {
    worker: String,
    deadline_ms: u64,
}

impl RecordV1 {
    /// The record, and the text that is stored behind it.
    fn from_entry(entry: &Entry) -> (Self, &str) {
        let task = &entry.task;
        let prefix = image_prefix(&task.owner, task.id.as_ref());
        let (payload, text) = match &task.payload {
            Payload::Inline(text) => (None, text.as_str()),
            Payload::Object(key) => (Some(key.to_string()), ""),
        };
        let record = Self {
            id: task.id.to_string(),
            kind: task.kind.clone(),
            owner: task.owner.clone(),
            priority: task.priority,
            payload,
            state: StateV1::from(task.state),
            cancel_requested: task.cancel_requested,
            attempt: task.attempt,
            created_ms: task.created_ms,
            updated_ms: task.updated_ms,
            started_ms: task.started_ms,
            finished_ms: task.finished_ms,
            outcome: task.outcome.as_ref().map(|outcome| OutcomeV1 {
                images: pack(&outcome.images, &prefix),
                details: outcome.details.as_ref().map(ObjectKey::to_string),
                error: outcome.error.as_ref().map(ErrorV1::from),
            }),
            revision: task.revision,
            sequence: entry.sequence,
            lost_attempts: entry.lost_attempts,
            shortages: entry.shortages,
            holder: entry
                .holder
                .as_ref()
                .map(|holder| HolderV1 { worker: holder.worker.clone(), deadline_ms: holder.deadline_ms }),
            terms: TermsV1::from(&task.terms),
            notice: task.notice.map(|notice| NoticeV1 { attempts: notice.attempts, due_ms: notice.due_ms }),
            pinned: task.pinned,
            files_gone: task.files_gone,
            place: Some(task.place).filter(|place| *place != entry.sequence),
        };
        (record, text)
    }

    fn into_entry(self, text: &str) -> Result<Entry, TaskStoreError> {
        let prefix = image_prefix(&self.owner, &self.id);
        let outcome = self.outcome.map(|outcome| {
            let images = outcome.images.iter().map(|text| unpack(text, &prefix));
            Ok(Outcome {
                images: images.collect::<Result<Vec<_>, TaskStoreError>>()?.concat(),
                details: outcome.details.as_deref().map(key).transpose()?,
                error: outcome.error.map(TaskError::from),
            })
        });
        let task = Task {
            id: TaskId::parse(&self.id)
                .map_err(|error| TaskStoreError::Corrupt(format!("a task record holds a bad id: {error}")))?,
            kind: self.kind,
            owner: self.owner,
            priority: self.priority,
            place: self.place.unwrap_or(self.sequence),
            payload: match self.payload {
                Some(object) => Payload::Object(key(&object)?),
                None => Payload::Inline(text.to_owned()),
            },
            state: TaskState::from(self.state),
            cancel_requested: self.cancel_requested,
            attempt: self.attempt,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            started_ms: self.started_ms,
            finished_ms: self.finished_ms,
            outcome: outcome.transpose()?,
            terms: self.terms.into(),
            notice: self.notice.map(|notice| Notice { attempts: notice.attempts, due_ms: notice.due_ms }),
            pinned: self.pinned,
            files_gone: self.files_gone,
            revision: self.revision,
        };
        let holder =
            self.holder.map(|holder| Holder { worker: holder.worker, deadline_ms: holder.deadline_ms });
        Ok(Entry {
            task,
            sequence: self.sequence,
            lost_attempts: self.lost_attempts,
            shortages: self.shortages,
            holder,
        })
    }
}

impl From<&Terms> for TermsV1 {
    fn from(terms: &Terms) -> Self {
        let Terms { model, name, fingerprint, start_by_ms, run_ms_max, no_retry, webhook, trace } =
            terms.clone();
        Self { model, name, fingerprint, start_by_ms, run_ms_max, no_retry, webhook, trace }
    }
}

impl From<TermsV1> for Terms {
    fn from(terms: TermsV1) -> Self {
        let TermsV1 { model, name, fingerprint, start_by_ms, run_ms_max, no_retry, webhook, trace } = terms;
        Self { model, name, fingerprint, start_by_ms, run_ms_max, no_retry, webhook, trace }
    }
}

impl From<&TaskError> for ErrorV1 {
    fn from(error: &TaskError) -> Self {
        let TaskError { code, message, problems } = error.clone();
        let problems =
            problems.into_iter().map(|TaskProblem { field, message }| ProblemV1 { field, message });
        Self { code, message, problems: problems.collect() }
    }
}

impl From<ErrorV1> for TaskError {
    fn from(error: ErrorV1) -> Self {
        let ErrorV1 { code, message, problems } = error;
        let problems =
            problems.into_iter().map(|ProblemV1 { field, message }| TaskProblem { field, message });
        Self { code, message, problems: problems.collect() }
    }
}

impl From<TaskState> for StateV1 {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Waiting => Self::Waiting,
            TaskState::Running => Self::Running,
            TaskState::Succeeded => Self::Succeeded,
            TaskState::Failed => Self::Failed,
            TaskState::Canceled => Self::Canceled,
            TaskState::Expired => Self::Expired,
        }
    }
}

impl From<StateV1> for TaskState {
    fn from(state: StateV1) -> Self {
        match state {
            StateV1::Waiting => Self::Waiting,
            StateV1::Running => Self::Running,
            StateV1::Succeeded => Self::Succeeded,
            StateV1::Failed => Self::Failed,
            StateV1::Canceled => Self::Canceled,
            StateV1::Expired => Self::Expired,
        }
    }
}

fn image_prefix(owner: &str, id: &str) -> String {
    format!("images/{owner}/{id}")
}

fn shorten(key: &ObjectKey, prefix: &str) -> String {
    key.as_str().strip_prefix(prefix).map_or_else(|| key.to_string(), |rest| format!("~{rest}"))
}

/// Keys as a record has them: those of consecutive pictures of the task as one range.
fn pack(keys: &[ObjectKey], prefix: &str) -> Vec<String> {
    let short: Vec<String> = keys.iter().map(|key| shorten(key, prefix)).collect();
    let follows = |one: &String, other: &String| {
        numbered(one).zip(numbered(other)).is_some_and(|((head, number, extension), other)| {
            number.checked_add(1).is_some_and(|next| (head, next, extension) == other)
        })
    };
    let runs = short.chunk_by(follows).flat_map(|run| run.chunks(RANGE_MAX));
    runs.filter_map(|run| {
        let (first, last) = (run.first()?, run.last()?);
        match (numbered(first), numbered(last)) {
            (Some((head, from, extension)), Some((_, to, _))) if from < to => {
                Some(format!("~{head}_{from}-{to}.{extension}"))
            }
            _ => Some(first.clone()),
        }
    })
    .collect()
}

/// The keys that a text of a record stands for.
fn unpack(text: &str, prefix: &str) -> Result<Vec<ObjectKey>, TaskStoreError> {
    let Some(rest) = text.strip_prefix('~') else { return Ok(vec![key(text)?]) };
    match range(rest) {
        Some((head, numbers, extension)) => {
            numbers.map(|number| key(&format!("{prefix}{head}_{number}.{extension}"))).collect()
        }
        None => Ok(vec![key(&format!("{prefix}{rest}"))?]),
    }
}

/// A shortened key as what stands before its number, the number, and its extension.
fn numbered(short: &str) -> Option<(&str, u32, &str)> {
    let (stem, extension) = short.strip_prefix('~')?.rsplit_once('.')?;
    let (head, number) = stem.rsplit_once('_')?;
    Some((head, number.parse().ok()?, extension))
}

/// A range in the same parts: no number of a picture has a dash in it. `None` for another text, and for a range that
/// [`pack`] does not write.
fn range(rest: &str) -> Option<(&str, RangeInclusive<u32>, &str)> {
    let (stem, extension) = rest.rsplit_once('.')?;
    let (head, numbers) = stem.rsplit_once('_')?;
    let (first, last) = numbers.split_once('-')?;
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    let more = usize::try_from(last.checked_sub(first)?).ok()?;
    (1..RANGE_MAX).contains(&more).then_some((head, first..=last, extension))
}

fn key(text: &str) -> Result<ObjectKey, TaskStoreError> {
    ObjectKey::parse(text)
        .map_err(|error| TaskStoreError::Corrupt(format!("a task record holds a bad key: {error}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::ImageFormat;
    use crate::tasks::{INLINE_PAYLOAD_LIMIT, NewTask};

    fn image(id: &str, attempt: u32, index: u32, format: ImageFormat) -> ObjectKey {
        ObjectKey::image("default", &TaskId::parse(id).unwrap(), attempt, index, format).unwrap()
    }

    fn finished(images: u32) -> Entry {
        let images = (1..=images).map(|index| image("mountain42", 1, index, ImageFormat::Png));
        with_images(images.collect())
    }

    fn with_images(images: Vec<ObjectKey>) -> Entry {
        let details = Some(ObjectKey::details(&TaskId::parse("mountain42").unwrap(), 1));
        ended(TaskState::Succeeded, Outcome { images, details, error: None })
    }

    /// Every second number, which no range spares.
    fn scattered(images: u32) -> Entry {
        let images = (1..=images).map(|index| image("mountain42", 1, 2 * index, ImageFormat::Png));
        with_images(images.collect())
    }

    fn failed(message: &str, problems: Vec<TaskProblem>) -> Entry {
        let error = Some(TaskError { code: "invalid".to_owned(), message: message.to_owned(), problems });
        ended(TaskState::Failed, Outcome { error, ..Outcome::default() })
    }

    fn ended(state: TaskState, outcome: Outcome) -> Entry {
        let id = TaskId::parse("mountain42").unwrap();
        let new = NewTask {
            id,
            kind: "txt2img".to_owned(),
            owner: "default".to_owned(),
            priority: 5,
            payload: Payload::Inline("\"".repeat(INLINE_PAYLOAD_LIMIT)),
            terms: Terms {
                model: Some("demo".to_owned()),
                webhook: Some("https://a.example".to_owned()),
                no_retry: true,
                ..Terms::default()
            },
        };
        let mut entry = Entry::new(new, 7, 1_000).unwrap();
        let lease = entry.lease("worker-1", Duration::from_secs(30), 2_000, 2_000).unwrap();
        entry.finish(&lease, state, outcome, 3_000).unwrap();
        entry
    }

    fn problem(field: &str, message: &str) -> TaskProblem {
        TaskProblem { field: field.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut entry = finished(2);
        assert_eq!(decode(&encode(&entry).unwrap()), Ok(entry.clone()));
        entry.pin(0, None).unwrap();
        entry.rename(Some("a \"name\" é".to_owned())).unwrap();
        entry.task.place = 3;
        entry.shortages = 2;
        assert_eq!(decode(&encode(&entry).unwrap()), Ok(entry.clone()));
        entry.unpin();
        entry.give_up_files(entry.task.revision).unwrap();
        assert_eq!(decode(&encode(&entry).unwrap()), Ok(entry.clone()));
        entry.forget_files().unwrap();
        assert_eq!(decode(&encode(&entry).unwrap()), Ok(entry));
        let failed = failed("no mask; no face", vec![problem("mask", "no mask"), problem("body", "no face")]);
        assert_eq!(failed.task.outcome.as_ref().unwrap().error.as_ref().unwrap().problems.len(), 2);
        assert_eq!(decode(&encode(&failed).unwrap()), Ok(failed));
    }

    #[test]
    fn the_longest_payload_and_the_longest_error_fit_one_record() {
        let long = "\"".repeat(2_000);
        for problems in [vec![problem("x", &long)], vec![problem("x", "y"); 500], vec![problem(&long, "y")]] {
            assert!(encode(&failed(&long, problems)).unwrap().len() <= RECORD_LIMIT);
        }
    }

    #[test]
    fn the_longest_payload_and_thousands_of_pictures_fit_one_record() {
        // A script returns 2,048 at most, and a later attempt has longer names.
        let images = (1..=2_048).map(|index| image("mountain42", 3, index, ImageFormat::Webp));
        for entry in [finished(2_048), with_images(images.collect()), scattered(200)] {
            let record = encode(&entry).unwrap();
            assert!(record.len() <= RECORD_LIMIT);
            assert_eq!(decode(&record), Ok(entry));
        }
    }

    #[test]
    fn pictures_keep_their_order_and_their_names_in_ranges() {
        let png = |index| image("mountain42", 1, index, ImageFormat::Png);
        let images = vec![
            // A grid stands before the pictures, and has the number behind them.
            png(5),
            png(1),
            png(2),
            png(3),
            image("mountain42", 1, 4, ImageFormat::Jpeg),
            image("mountain42", 2, 5, ImageFormat::Jpeg),
            image("mountain42", 2, 6, ImageFormat::Jpeg),
            // Another task's, whose id begins as this one's, or does not.
            image("mountain42_7-9", 1, 1, ImageFormat::Png),
            image("sea", 1, 1, ImageFormat::Png),
            image("sea", 1, 2, ImageFormat::Png),
            png(9),
            png(u32::MAX),
        ];
        let packed = pack(&images, "images/default/mountain42");
        assert_eq!(
            packed,
            [
                "~_5.png",
                "~_1-3.png",
                "~_4.jpg",
                "~.2_5-6.jpg",
                "~_7-9_1.png",
                "images/default/sea_1.png",
                "images/default/sea_2.png",
                "~_9.png",
                "~_4294967295.png",
            ]
        );
        let entry = with_images(images);
        assert_eq!(decode(&encode(&entry).unwrap()), Ok(entry));
    }

    #[test]
    fn a_long_run_is_several_ranges_and_none_is_longer_than_is_read() {
        let entry = finished(25_000);
        let packed = pack(&entry.task.outcome.as_ref().unwrap().images, "images/default/mountain42");
        assert_eq!(packed, ["~_1-10000.png", "~_10001-20000.png", "~_20001-25000.png"]);
        assert_eq!(decode(&encode(&entry).unwrap()), Ok(entry));
        for damaged in
            ["~_1-4294967295.png", "~_1-10001.png", "~_3-3.png", "~_3-2.png", "~_0-2.png", "~_1-.png"]
        {
            let read = unpack(damaged, "images/default/mountain42");
            assert!(matches!(read, Err(TaskStoreError::Corrupt(_))), "{damaged} gave {read:?}");
        }
    }

    #[test]
    fn refuses_a_record_over_the_limit() {
        assert!(matches!(
            encode(&scattered(2_000)),
            Err(TaskStoreError::TooLarge { bytes, limit: RECORD_LIMIT }) if bytes > RECORD_LIMIT
        ));
    }

    #[test]
    fn reads_the_record_that_the_first_release_wrote() {
        let entry = decode(include_bytes!("../../tests/fixtures/task-record-v1.bin")).unwrap();
        assert_eq!(entry.task.id.as_ref(), "mountain42");
        assert_eq!(entry.task.payload, Payload::Inline(r#"{"prompt":"mountain"}"#.to_owned()));
        assert_eq!((entry.task.state, entry.task.attempt, entry.sequence), (TaskState::Failed, 2, 7));
        assert_eq!(entry.task.terms, Terms::default(), "it asked for nothing that was not known yet");
        assert!(!entry.task.pinned && !entry.task.files_gone);
        assert_eq!((entry.task.place, entry.shortages), (7, 0), "it was never moved, and nothing was short");
        let outcome = entry.task.outcome.unwrap();
        assert_eq!(outcome.images[0].as_str(), "images/default/mountain42.2_1.png");
        let error = outcome.error.unwrap();
        assert_eq!((error.code.as_str(), error.problems), ("invalid_model", Vec::new()));
    }

    #[test]
    fn damage_and_newer_versions_are_errors_and_never_panics() {
        let whole = encode(&finished(1)).unwrap();
        for length in 0..HEADER + 40 {
            assert!(decode(&whole[..length]).is_err());
        }
        let mut newer = whole;
        newer[0] = 2;
        assert!(matches!(decode(&newer), Err(TaskStoreError::Corrupt(_))));
    }
}
