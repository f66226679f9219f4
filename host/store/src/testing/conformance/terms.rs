//! The part of the suite about what is asked of a task beside what it draws: by when it begins, whether it is tried again,
//! whom its end is told.

use std::time::Duration;

use gesso_core::ids::TaskId;

use super::{Subject, TTL, new_task, outcome};
use crate::clock::Clock as _;
use crate::tasks::{
    CRASHED, EXPIRED, NewTask, Outcome, Release, TERM_LIMIT, TaskError, TaskState, TaskStoreError, Terms,
};

pub async fn a_task_that_has_not_begun_in_time_expires_and_never_begins(subject: Subject) {
    let start_by_ms = Some(subject.clock.now_ms() + 5_000);
    let terms = Terms { start_by_ms, ..Terms::default() };
    let late =
        subject.store.submit(NewTask { terms: terms.clone(), ..new_task("late") }).await.expect("stored");
    subject.store.submit(NewTask { terms, priority: 1, ..new_task("begun") }).await.expect("stored");
    let lease = subject.lease().await;
    assert_eq!(lease.task.id.as_str(), "begun");
    assert_eq!(subject.store.expire_overdue().await, Ok(0));
    subject.clock.advance(Duration::from_secs(5));
    assert_eq!(subject.store.lease("worker", TTL).await, Ok(None), "a lease looks first");
    let late = subject.get(&late).await;
    assert_eq!(late.state, TaskState::Expired);
    assert_eq!(late.outcome.and_then(|outcome| outcome.error).expect("a reason").code, EXPIRED);
    // What has begun in time goes on.
    subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("the lease is held");
    assert_eq!(subject.store.stats().await.expect("the store answers").expired, 1);
    assert_eq!(subject.store.expire_overdue().await, Ok(0));
}

pub async fn a_failed_task_can_be_tried_again_and_others_cannot(subject: Subject) {
    let task = subject.submit("again").await;
    assert_eq!(subject.store.retry(&task.id).await, Err(TaskStoreError::State(TaskState::Waiting)));
    let lease = subject.lease().await;
    assert_eq!(subject.store.retry(&task.id).await, Err(TaskStoreError::State(TaskState::Running)));
    let error = TaskError { code: "internal".to_owned(), message: "no".to_owned(), problems: Vec::new() };
    let failed = Outcome { error: Some(error), ..Outcome::default() };
    subject.store.finish(&lease, TaskState::Failed, failed).await.expect("the lease is held");
    let waiting = subject.store.retry(&task.id).await.expect("it failed");
    assert_eq!((waiting.state, waiting.attempt), (TaskState::Waiting, 1));
    assert_eq!((&waiting.outcome, waiting.finished_ms), (&None, None));
    let lease = subject.lease().await;
    assert_eq!(lease.attempt, 2);
    subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("the lease is held");
    assert_eq!(subject.store.retry(&task.id).await, Err(TaskStoreError::State(TaskState::Succeeded)));
}

pub async fn only_a_task_that_has_ended_can_be_removed(subject: Subject) {
    let task = subject.submit("gone").await;
    assert_eq!(subject.store.remove(&task.id).await, Err(TaskStoreError::State(TaskState::Waiting)));
    let canceled = subject.store.cancel(&task.id).await.expect("the task is there");
    assert_eq!(subject.store.remove(&task.id).await, Ok(canceled));
    assert_eq!(subject.store.get(&task.id).await, Ok(None));
    assert_eq!(subject.store.remove(&task.id).await, Err(TaskStoreError::NotFound));
    assert_eq!(subject.store.stats().await.expect("the store answers").total(), 0);
}

pub async fn an_ended_tasks_webhook_is_due_until_it_is_settled(subject: Subject) {
    let terms = Terms { webhook: Some("https://a.example/hook".to_owned()), ..Terms::default() };
    let task = subject.store.submit(NewTask { terms, ..new_task("told") }).await.expect("stored");
    subject.submit("silent").await;
    let due = async || {
        let due = subject.store.due_notices(9, &[]).await.expect("the store answers");
        due.iter()
            .map(|task| (task.id.to_string(), task.notice.expect("a notice").attempts))
            .collect::<Vec<_>>()
    };
    assert_eq!(due().await, []);
    for id in ["told", "silent"] {
        subject.store.cancel(&TaskId::parse(id).expect("a task id")).await.expect("the task is there");
    }
    assert_eq!(due().await, [("told".to_owned(), 0)]);
    let others = subject.store.due_notices(9, &["default".to_owned()]).await.expect("the store answers");
    assert_eq!(others, []);
    let revision = subject.get(&task).await.revision;
    let next = subject.clock.now_ms() + 1_000;
    subject.store.settle_notice(&task.id, revision, Some(next)).await.expect("a notice is due");
    assert_eq!(due().await, []);
    subject.clock.advance(Duration::from_secs(1));
    assert_eq!(due().await, [("told".to_owned(), 1)]);
    let settled = subject.store.settle_notice(&task.id, revision, None).await.expect("a notice is due");
    assert_eq!((settled.notice, settled.state), (None, TaskState::Canceled));
    assert_eq!(due().await, []);
    let again = subject.store.settle_notice(&task.id, revision, None).await;
    assert_eq!(again, Err(TaskStoreError::State(TaskState::Canceled)));
}

pub async fn what_was_owed_of_an_earlier_end_settles_nothing_of_a_later_one(subject: Subject) {
    let terms = Terms { webhook: Some("https://a.example/hook".to_owned()), ..Terms::default() };
    subject.store.submit(NewTask { terms, ..new_task("told") }).await.expect("stored");
    let fail = async || {
        let lease = subject.lease().await;
        let failed = subject.store.finish(&lease, TaskState::Failed, Outcome::default()).await;
        failed.expect("the lease is held")
    };
    let first = fail().await;
    subject.store.retry(&first.id).await.expect("it failed");
    let second = fail().await;
    let late = subject.store.settle_notice(&first.id, first.revision, None).await;
    assert_eq!(late, Err(TaskStoreError::State(TaskState::Failed)));
    assert_eq!(subject.get(&second).await.notice, second.notice);
}

pub async fn a_retried_task_is_not_asked_to_stop_any_more(subject: Subject) {
    let task = subject.submit("again").await;
    let lease = subject.lease().await;
    subject.store.cancel(&task.id).await.expect("the task is there");
    subject.store.finish(&lease, TaskState::Failed, Outcome::default()).await.expect("the lease is held");
    assert!(!subject.store.retry(&task.id).await.expect("it failed").cancel_requested);
}

pub async fn a_task_that_began_in_time_and_was_handed_back_does_not_expire(subject: Subject) {
    let terms = Terms { start_by_ms: Some(subject.clock.now_ms() + 5_000), ..Terms::default() };
    subject.store.submit(NewTask { terms, ..new_task("begun") }).await.expect("stored");
    let lease = subject.lease().await;
    subject.store.release(&lease, Release::Rest).await.expect("the lease is held");
    subject.clock.advance(Duration::from_secs(60));
    assert_eq!(subject.store.expire_overdue().await, Ok(0));
    assert_eq!(subject.lease().await.attempt, 2);
}

pub async fn refuses_terms_that_are_too_long(subject: Subject) {
    let with_model = |bytes| {
        let terms = Terms { model: Some("x".repeat(bytes)), ..Terms::default() };
        subject.store.submit(NewTask { terms, ..new_task("long") })
    };
    assert!(matches!(with_model(TERM_LIMIT + 1).await, Err(TaskStoreError::Invalid(_))));
    assert!(with_model(TERM_LIMIT).await.is_ok());
}

pub async fn a_task_that_is_not_to_be_tried_again_fails_with_its_first_lost_attempt(subject: Subject) {
    let terms = Terms { no_retry: true, ..Terms::default() };
    let task = subject.store.submit(NewTask { terms, ..new_task("once") }).await.expect("stored");
    // What a draining worker hands back had not begun to matter.
    let lease = subject.lease().await;
    subject.store.release(&lease, Release::Rest).await.expect("the lease is held");
    subject.lease().await;
    subject.clock.advance(TTL);
    assert_eq!(subject.store.lease("worker", TTL).await, Ok(None));
    let task = subject.get(&task).await;
    assert_eq!((task.state, task.attempt), (TaskState::Failed, 2));
    let error = task.outcome.and_then(|outcome| outcome.error).expect("a reason");
    assert!(error.code == CRASHED && error.message.contains("not to be tried again"), "{error:?}");
    // Whoever asks for another try has one more.
    subject.store.retry(&task.id).await.expect("it failed");
    subject.lease().await;
    subject.store.cancel(&task.id).await.expect("the task is there");
    subject.clock.advance(TTL);
    assert_eq!(subject.store.lease("worker", TTL).await, Ok(None));
    let state = subject.store.get(&task.id).await.expect("the store answers").map(|task| task.state);
    assert_eq!(state, Some(TaskState::Canceled), "it was asked to stop");
}

pub async fn shortages_are_counted_apart_from_other_ends_of_attempts_and_until_a_retry(subject: Subject) {
    let task = subject.submit("short").await;
    let again = async |why| {
        let lease = subject.lease().await;
        subject.store.release(&lease, why).await.expect("the lease is held");
        (lease.attempt, lease.shortages)
    };
    assert_eq!(again(Release::Rest).await, (1, 0));
    assert_eq!(again(Release::Shortage).await, (2, 0));
    // A lost attempt is none either.
    assert_eq!(subject.lease().await.shortages, 1);
    subject.clock.advance(TTL);
    assert_eq!(again(Release::Shortage).await, (4, 1));
    assert_eq!(again(Release::Rest).await, (5, 2));
    let lease = subject.lease().await;
    subject.store.finish(&lease, TaskState::Failed, Outcome::default()).await.expect("the lease is held");
    subject.store.retry(&task.id).await.expect("it failed");
    assert_eq!(again(Release::Rest).await, (7, 0));
}
