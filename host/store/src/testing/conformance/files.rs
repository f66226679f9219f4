//! The part of the suite about what retention deletes: tasks that ended, before them their files. And about what it leaves.

use std::time::Duration;

use super::{Subject, new_task, outcome};
use crate::clock::Clock as _;
use crate::keys::ObjectKey;
use crate::tasks::{NewTask, Outcome, Payload, Task, TaskState, TaskStoreError, Terms};

impl Subject {
    /// A task that was drawn; time goes on by a second.
    async fn drawn(&self, new: NewTask) -> Task {
        self.store.submit(new).await.expect("the task is stored");
        let lease = self.lease().await;
        let ended = self.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await;
        self.clock.advance(Duration::from_secs(1));
        ended.expect("the lease is held")
    }

    async fn filed(&self, limit: usize) -> String {
        let filed = self.store.filed_before(u64::MAX, limit).await.expect("the store answers");
        filed.iter().map(|task| task.id.to_string()).collect::<Vec<_>>().join(" ")
    }

    async fn ended(&self) -> String {
        let ended = self.store.ended_before(u64::MAX, 99).await.expect("the store answers");
        ended.iter().map(|task| task.id.to_string()).collect::<Vec<_>>().join(" ")
    }
}

pub async fn retention_sees_only_tasks_that_ended_before(subject: Subject) {
    let old = subject.submit("old").await;
    let running = subject.submit("running").await;
    let lease = subject.lease().await;
    subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("it is finished");
    subject.lease().await;
    let waiting = subject.submit("waiting").await;
    subject.clock.advance(Duration::from_secs(1));
    let limit = subject.clock.now_ms();
    let young = subject.submit("young").await;
    subject.store.cancel(&young.id).await.expect("the task is there");
    let ended = subject.store.ended_before(limit, 9).await.expect("the store answers");
    assert_eq!(ended.iter().map(|task| &task.id).collect::<Vec<_>>(), [&old.id]);
    subject.store.remove(&old.id).await.expect("it has ended");
    assert_eq!(subject.store.get(&old.id).await, Ok(None));
    for kept in [&running, &waiting, &young] {
        assert_eq!(subject.get(kept).await.id, kept.id);
    }
    assert_eq!(subject.store.stats().await.expect("the store answers").total(), 3);
    subject.submit("old").await;
}

pub async fn retention_sees_the_oldest_ends_first_and_no_more_than_it_asks_for(subject: Subject) {
    let tasks = [subject.submit("a").await, subject.submit("b").await, subject.submit("c").await];
    for task in [&tasks[2], &tasks[0], &tasks[1]] {
        subject.store.cancel(&task.id).await.expect("the task is there");
        subject.clock.advance(Duration::from_secs(1));
    }
    let ended = async |limit| {
        let ended = subject.store.ended_before(u64::MAX, limit).await.expect("the store answers");
        ended.iter().map(|task| task.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((ended(0).await, ended(2).await), (String::new(), "c a".to_owned()));
    assert_eq!(ended(9).await, "c a b");
}

pub async fn retention_sees_files_until_they_are_given_up_and_forgotten(subject: Subject) {
    let first = subject.drawn(new_task("a")).await;
    let key = ObjectKey::payload(&new_task("b").id, 7);
    let second = subject.drawn(NewTask { payload: Payload::Object(key), ..new_task("b") }).await;
    // One without files is none of its business, and neither is one that waits.
    let canceled = subject.submit("c").await;
    subject.store.cancel(&canceled.id).await.expect("the task is there");
    subject.submit("d").await;
    let before = async |ms| subject.store.filed_before(ms, 9).await.expect("the store answers").len();
    let ended_ms = second.finished_ms.expect("it has ended");
    assert_eq!((before(ended_ms).await, before(ended_ms + 1).await), (1, 2));
    assert_eq!((subject.filed(0).await, subject.filed(1).await), (String::new(), "a".to_owned()));
    assert_eq!(subject.store.forget_files(&first.id).await, Err(TaskStoreError::State(TaskState::Succeeded)));
    let given_up = subject.store.give_up_files(&second.id, second.revision).await.expect("it has ended");
    assert_eq!((&given_up.outcome, given_up.files_gone), (&second.outcome, true), "they can still be found");
    // A process may die before they are deleted.
    assert_eq!(subject.filed(9).await, "a b");
    let without = subject.store.forget_files(&second.id).await.expect("they were given up");
    assert_eq!((&without.outcome, without.revision), (&Some(Outcome::default()), second.revision));
    assert!(without.payload == Payload::Inline(String::new()) && !without.has_files());
    assert_eq!((subject.filed(9).await, subject.ended().await), ("a".to_owned(), "a b c".to_owned()));
    assert_eq!(subject.get(&second).await, without);
}

pub async fn retention_leaves_what_is_pinned_or_owed_alone(subject: Subject) {
    let pinned = subject.drawn(new_task("pinned")).await;
    let terms = Terms { webhook: Some("https://a.example/hook".to_owned()), ..Terms::default() };
    let owed = subject.drawn(NewTask { terms, ..new_task("owed") }).await;
    subject.drawn(new_task("plain")).await;
    assert_eq!(subject.filed(9).await, "pinned plain");
    let kept = subject.store.pin(&pinned.id, None).await.expect("the task is there");
    assert_eq!(kept, Task { pinned: true, ..pinned.clone() });
    assert_eq!((subject.filed(9).await, subject.ended().await), ("plain".to_owned(), "plain".to_owned()));
    let refused = subject.store.give_up_files(&pinned.id, pinned.revision).await;
    assert_eq!(refused, Err(TaskStoreError::State(TaskState::Succeeded)));
    subject.store.settle_notice(&owed.id, owed.revision, None).await.expect("a notice is due");
    subject.store.unpin(&pinned.id).await.expect("the task is there");
    assert_eq!(subject.filed(9).await, "pinned owed plain");
    assert_eq!(subject.ended().await, "pinned owed plain");
    // A task may be pinned before it has ended.
    let waiting = subject.submit("waiting").await;
    subject.store.pin(&waiting.id, None).await.expect("the task is there");
    subject.store.cancel(&waiting.id).await.expect("the task is there");
    assert_eq!(subject.ended().await, "pinned owed plain");
    let unknown = new_task("unknown").id;
    assert_eq!(subject.store.pin(&unknown, None).await, Err(TaskStoreError::NotFound));
}

pub async fn what_is_owed_to_a_silent_server_keeps_nothing_else_from_retention(subject: Subject) {
    let canceled = |new: NewTask| {
        let store = subject.store.clone();
        async move {
            let id = store.submit(new).await.expect("the task is stored").id;
            store.cancel(&id).await.expect("the task is there")
        }
    };
    // More than retention removes at one look.
    let owed = (0..600).map(|number| {
        let terms = Terms { webhook: Some("https://a.example/hook".to_owned()), ..Terms::default() };
        canceled(NewTask { terms, ..new_task(&format!("owed{number}")) })
    });
    let owed = futures::future::join_all(owed).await;
    subject.clock.advance(Duration::from_secs(1));
    canceled(new_task("plain")).await;
    let ended = async || {
        let ended = subject.store.ended_before(u64::MAX, 500).await.expect("the store answers");
        ended.iter().map(|task| task.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ended().await, "plain");
    let told = subject.store.settle_notice(&owed[0].id, owed[0].revision, None).await;
    told.expect("a notice is due");
    assert_eq!(ended().await, "owed0 plain");
}

pub async fn files_that_are_given_up_are_neither_pinned_nor_tried_again(subject: Subject) {
    let key = ObjectKey::payload(&new_task("failed").id, 7);
    let new = NewTask { payload: Payload::Object(key), ..new_task("failed") };
    let waiting = subject.store.submit(new).await.expect("the task is stored");
    let early = subject.store.give_up_files(&waiting.id, waiting.revision).await;
    assert_eq!(early, Err(TaskStoreError::State(TaskState::Waiting)));
    let lease = subject.lease().await;
    let failed = subject.store.finish(&lease, TaskState::Failed, Outcome::default()).await;
    let failed = failed.expect("the lease is held");
    assert_eq!(subject.filed(9).await, "failed", "its request is a file");
    let state = Err(TaskStoreError::State(TaskState::Failed));
    // Whoever listed it meant the end before this one.
    subject.store.retry(&failed.id).await.expect("it failed");
    let lease = subject.lease().await;
    let again = subject.store.finish(&lease, TaskState::Failed, Outcome::default()).await;
    let again = again.expect("the lease is held");
    assert_eq!(subject.store.give_up_files(&again.id, failed.revision).await, state);
    subject.store.give_up_files(&again.id, again.revision).await.expect("it has ended");
    assert_eq!(subject.store.retry(&waiting.id).await, state);
    assert_eq!(subject.store.pin(&waiting.id, None).await, state);
    subject.store.remove(&waiting.id).await.expect("it has ended");
    assert_eq!(subject.filed(9).await, "");
}
