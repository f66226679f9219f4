//! What every task store must do, as plain async functions over the trait. A store runs the whole list with
//! [`conformance_tests!`](crate::conformance_tests); the list knows no store.

use std::sync::Arc;
use std::time::Duration;

use gesso_core::ids::TaskId;
use tokio::sync::broadcast::error::TryRecvError;

use super::ManualClock;
use crate::clock::Clock as _;
use crate::keys::{ImageFormat, ObjectKey};
use crate::tasks::{
    CRASHED, EndedFilter, INLINE_PAYLOAD_LIMIT, Lease, NewTask, Outcome, Payload, Release, Task, TaskChange,
    TaskError, TaskFilter, TaskProblem, TaskState, TaskStats, TaskStore, TaskStoreError, Terms,
};

mod changes;
mod files;
mod terms;
pub use changes::*;
pub use files::*;
pub use terms::*;

/// An empty store and the clock it reads.
pub struct Subject {
    pub store: Arc<dyn TaskStore>,
    pub clock: ManualClock,
}

/// Makes one `#[tokio::test]` of each function of the suite. `$make` is an async closure or function that returns
/// a [`Subject`] and whatever must outlive it, such as a temporary folder.
#[macro_export]
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::conformance_tests! { $make:
            a_submitted_task_waits_and_can_be_read_back
            refuses_an_id_that_is_taken
            refuses_what_it_cannot_store
            leases_by_priority_and_then_by_age
            an_empty_store_leases_nothing
            a_leased_task_belongs_to_one_worker
            extending_moves_the_deadline_and_tells_of_a_cancel
            an_expired_lease_is_taken_back_and_its_late_words_are_refused
            a_lease_lasts_as_long_whatever_the_clock_is_set_to
            the_third_lost_attempt_fails_the_task
            a_finished_task_keeps_its_outcome_and_never_changes
            a_repeated_finish_is_answered_like_the_first
            refuses_to_finish_with_a_state_that_is_not_an_end
            an_endless_error_message_is_cut
            a_released_task_waits_at_its_old_place
            canceling_a_waiting_task_ends_it_at_once
            canceling_a_running_task_asks_it_to_stop
            a_canceled_task_is_not_run_again_when_its_worker_is_lost
            canceling_twice_or_too_late_changes_nothing
            unknown_ids_are_not_found
            lists_newest_first_by_state_and_owner_up_to_the_limit
            subscribers_hear_of_every_change_once
            counts_tasks_by_state
            retention_sees_only_tasks_that_ended_before
            retention_sees_the_oldest_ends_first_and_no_more_than_it_asks_for
            retention_sees_files_until_they_are_given_up_and_forgotten
            retention_leaves_what_is_pinned_or_owed_alone
            what_is_owed_to_a_silent_server_keeps_nothing_else_from_retention
            files_that_are_given_up_are_neither_pinned_nor_tried_again
            pages_follow_each_other_without_gap_or_double
            what_has_ended_is_shown_in_pages_and_counted_by_owner_and_state
            tells_how_many_wait_before_a_task
            tells_the_places_of_thousands
            a_task_that_has_not_begun_in_time_expires_and_never_begins
            a_failed_task_can_be_tried_again_and_others_cannot
            only_a_task_that_has_ended_can_be_removed
            an_ended_tasks_webhook_is_due_until_it_is_settled
            what_was_owed_of_an_earlier_end_settles_nothing_of_a_later_one
            a_retried_task_is_not_asked_to_stop_any_more
            a_task_that_began_in_time_and_was_handed_back_does_not_expire
            refuses_terms_that_are_too_long
            a_moved_task_takes_turns_with_its_owners_and_nobody_elses
            only_a_task_that_waits_is_moved_and_only_beside_its_owners
            a_waiting_task_is_given_another_request_until_it_begins_or_changes
            a_task_has_a_name_in_every_state
            an_owner_pins_no_more_tasks_than_may_be
            what_is_pinned_and_has_ended_is_shown_in_pages
            a_task_that_is_not_to_be_tried_again_fails_with_its_first_lost_attempt
            shortages_are_counted_apart_from_other_ends_of_attempts_and_until_a_retry
            concurrent_workers_never_share_an_attempt
            concurrent_submits_of_one_id_have_one_winner
        }
    };
    ($make:path: $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let (subject, _kept) = $make().await;
                $crate::testing::conformance::$case(subject).await;
            }
        )*
    };
}

const TTL: Duration = Duration::from_secs(30);

/// A small task of owner `default`.
pub fn new_task(id: &str) -> NewTask {
    NewTask {
        id: TaskId::parse(id).expect("a task id"),
        kind: "txt2img".to_owned(),
        owner: "default".to_owned(),
        priority: 0,
        payload: Payload::Inline(r#"{"prompt":"mountain"}"#.to_owned()),
        terms: Terms::default(),
    }
}

/// The outcome of a task with one picture.
pub fn outcome(lease: &Lease) -> Outcome {
    let Task { id, owner, .. } = &lease.task;
    let image = ObjectKey::image(owner, id, lease.attempt, 1, ImageFormat::Png).expect("a key");
    Outcome { images: vec![image], details: Some(ObjectKey::details(id, lease.attempt)), error: None }
}

impl Subject {
    async fn submit(&self, id: &str) -> Task {
        self.store.submit(new_task(id)).await.expect("the task is stored")
    }

    async fn lease(&self) -> Lease {
        self.store.lease("worker", TTL).await.expect("the store answers").expect("a task waits")
    }

    async fn get(&self, task: &Task) -> Task {
        self.store.get(&task.id).await.expect("the store answers").expect("the task is there")
    }
}

pub async fn a_submitted_task_waits_and_can_be_read_back(subject: Subject) {
    let new = NewTask { priority: -3, owner: "ann_1".to_owned(), ..new_task("first") };
    let task = subject.store.submit(new.clone()).await.expect("the task is stored");
    assert_eq!((&task.id, &task.kind, &task.owner), (&new.id, &new.kind, &new.owner));
    assert_eq!((&task.payload, task.priority), (&new.payload, -3));
    assert_eq!((task.state, task.attempt, task.revision), (TaskState::Waiting, 0, 1));
    assert_eq!((task.created_ms, task.updated_ms), (subject.clock.now_ms(), subject.clock.now_ms()));
    assert_eq!((task.started_ms, task.finished_ms, &task.outcome), (None, None, &None));
    assert_eq!(subject.get(&task).await, task);
}

pub async fn refuses_an_id_that_is_taken(subject: Subject) {
    let task = subject.submit("taken").await;
    let again = NewTask { priority: 9, ..new_task("taken") };
    assert_eq!(subject.store.submit(again).await, Err(TaskStoreError::Exists));
    assert_eq!(subject.get(&task).await, task);
}

pub async fn refuses_what_it_cannot_store(subject: Subject) {
    let with_payload = |bytes| NewTask { payload: Payload::Inline("x".repeat(bytes)), ..new_task("big") };
    let refused = subject.store.submit(with_payload(INLINE_PAYLOAD_LIMIT + 1)).await;
    assert_eq!(
        refused,
        Err(TaskStoreError::TooLarge { bytes: INLINE_PAYLOAD_LIMIT + 1, limit: INLINE_PAYLOAD_LIMIT })
    );
    subject.store.submit(with_payload(INLINE_PAYLOAD_LIMIT)).await.expect("the longest payload is stored");
    for owner in ["", "../etc", "a b"] {
        let refused = subject.store.submit(NewTask { owner: owner.to_owned(), ..new_task("other") }).await;
        assert!(matches!(refused, Err(TaskStoreError::Invalid(_))), "owner {owner:?} gave {refused:?}");
    }
    let refused = subject.store.submit(NewTask { kind: "txt 2".to_owned(), ..new_task("other") }).await;
    assert!(matches!(refused, Err(TaskStoreError::Invalid(_))));
}

pub async fn leases_by_priority_and_then_by_age(subject: Subject) {
    for (id, priority) in [("a", 0), ("b", 5), ("c", -5), ("d", 5), ("e", i32::MIN), ("f", i32::MAX)] {
        let task = NewTask { priority, ..new_task(id) };
        subject.store.submit(task).await.expect("the task is stored");
    }
    let mut order = Vec::new();
    while let Some(lease) = subject.store.lease("worker", TTL).await.expect("the store answers") {
        order.push(lease.task.id.to_string());
    }
    assert_eq!(order, ["f", "b", "d", "a", "c", "e"]);
}

pub async fn an_empty_store_leases_nothing(subject: Subject) {
    assert_eq!(subject.store.lease("worker", TTL).await, Ok(None));
}

pub async fn a_leased_task_belongs_to_one_worker(subject: Subject) {
    subject.submit("one").await;
    let lease = subject.lease().await;
    assert_eq!((lease.attempt, lease.task.attempt), (1, 1));
    assert_eq!((lease.task.state, lease.task.started_ms), (TaskState::Running, Some(subject.clock.now_ms())));
    assert_eq!(lease.deadline_ms, subject.clock.steady_ms() + 30_000);
    assert_eq!(subject.store.lease("other", TTL).await, Ok(None));
    let stolen = Lease { worker: "other".to_owned(), ..lease.clone() };
    assert_eq!(subject.store.extend(&stolen, TTL).await, Err(TaskStoreError::Fenced));
    assert_eq!(subject.get(&lease.task).await, lease.task);
}

pub async fn extending_moves_the_deadline_and_tells_of_a_cancel(subject: Subject) {
    subject.submit("long").await;
    let lease = subject.lease().await;
    for _ in 0..5 {
        subject.clock.advance(Duration::from_secs(20));
        let task = subject.store.extend(&lease, TTL).await.expect("the lease is held");
        assert!(!task.cancel_requested);
        assert_eq!(subject.store.lease("other", TTL).await, Ok(None));
    }
    subject.store.cancel(&lease.task.id).await.expect("the task is there");
    assert!(subject.store.extend(&lease, TTL).await.expect("the lease is held").cancel_requested);
}

pub async fn an_expired_lease_is_taken_back_and_its_late_words_are_refused(subject: Subject) {
    subject.submit("slow").await;
    let first = subject.lease().await;
    subject.clock.advance(Duration::from_millis(29_999));
    assert_eq!(subject.store.lease("other", TTL).await, Ok(None));
    subject.clock.advance(Duration::from_millis(1));
    let second =
        subject.store.lease("other", TTL).await.expect("the store answers").expect("it was taken back");
    assert_eq!((second.attempt, &second.task.id), (2, &first.task.id));
    let late = subject.store.finish(&first, TaskState::Succeeded, outcome(&first)).await;
    assert_eq!(late, Err(TaskStoreError::Fenced));
    assert_eq!(subject.store.extend(&first, TTL).await, Err(TaskStoreError::Fenced));
    assert_eq!(subject.store.release(&first, Release::Rest).await, Err(TaskStoreError::Fenced));
    subject.store.finish(&second, TaskState::Succeeded, outcome(&second)).await.expect("the lease is held");
    assert_eq!(subject.get(&first.task).await.outcome, Some(outcome(&second)));
}

pub async fn a_lease_lasts_as_long_whatever_the_clock_is_set_to(subject: Subject) {
    const DAY_MS: u64 = 86_400_000;
    subject.submit("long").await;
    subject.lease().await;
    let now_ms = subject.clock.now_ms();
    // The machine slept, or had come up with a clock that was slow; and somebody set it back.
    for set_ms in [now_ms + DAY_MS, now_ms - DAY_MS] {
        subject.clock.set(set_ms);
        assert_eq!(subject.store.lease("other", TTL).await, Ok(None));
    }
    subject.clock.advance(TTL);
    let second = subject.store.lease("other", TTL).await.expect("the store answers");
    assert_eq!(second.expect("it was taken back").attempt, 2);
}

pub async fn the_third_lost_attempt_fails_the_task(subject: Subject) {
    let task = subject.submit("deadly").await;
    for attempt in 1..=3 {
        assert_eq!(subject.lease().await.attempt, attempt);
        subject.clock.advance(TTL);
    }
    assert_eq!(subject.store.lease("worker", TTL).await, Ok(None));
    let task = subject.get(&task).await;
    assert_eq!((task.state, task.attempt), (TaskState::Failed, 3));
    assert_eq!(task.outcome.and_then(|outcome| outcome.error).expect("a reason").code, CRASHED);
}

pub async fn a_finished_task_keeps_its_outcome_and_never_changes(subject: Subject) {
    subject.submit("done").await;
    let lease = subject.lease().await;
    subject.clock.advance(Duration::from_secs(7));
    let task =
        subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("it is finished");
    assert_eq!((task.state, task.finished_ms), (TaskState::Succeeded, Some(subject.clock.now_ms())));
    assert_eq!(task.outcome, Some(outcome(&lease)));
    let other = Outcome::default();
    assert_eq!(subject.store.finish(&lease, TaskState::Failed, other).await, Err(TaskStoreError::Fenced));
    assert_eq!(subject.store.extend(&lease, TTL).await, Err(TaskStoreError::Fenced));
    assert_eq!(subject.store.release(&lease, Release::Rest).await, Err(TaskStoreError::Fenced));
    subject.clock.advance(TTL);
    assert_eq!(subject.store.lease("worker", TTL).await, Ok(None));
    assert_eq!(subject.get(&task).await, task);
}

pub async fn a_repeated_finish_is_answered_like_the_first(subject: Subject) {
    subject.submit("twice").await;
    let lease = subject.lease().await;
    let first = subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await;
    subject.clock.advance(Duration::from_secs(1));
    assert_eq!(subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await, first);
}

pub async fn refuses_to_finish_with_a_state_that_is_not_an_end(subject: Subject) {
    subject.submit("odd").await;
    let lease = subject.lease().await;
    for state in [TaskState::Waiting, TaskState::Running] {
        let refused = subject.store.finish(&lease, state, Outcome::default()).await;
        assert!(matches!(refused, Err(TaskStoreError::Invalid(_))), "{state} gave {refused:?}");
    }
    assert_eq!(subject.get(&lease.task).await, lease.task);
}

pub async fn an_endless_error_message_is_cut(subject: Subject) {
    subject.submit("noisy").await;
    let lease = subject.lease().await;
    let problem = |field: &str| TaskProblem { field: field.to_owned(), message: "é".repeat(100_000) };
    let problems = vec![problem("mask"), problem("width")];
    let error = TaskError { code: "internal".to_owned(), message: "é".repeat(100_000), problems };
    let outcome = Outcome { error: Some(error), ..Outcome::default() };
    let task = subject.store.finish(&lease, TaskState::Failed, outcome).await.expect("it is finished");
    let stored = subject.get(&task).await.outcome.and_then(|outcome| outcome.error).expect("a reason");
    assert_eq!(stored.message, "é".repeat(512));
    let [problem] = stored.problems.as_slice() else { panic!("{:?}", stored.problems) };
    assert_eq!((problem.field.as_str(), problem.message.as_str()), ("mask", "é".repeat(238).as_str()));
}

pub async fn a_released_task_waits_at_its_old_place(subject: Subject) {
    let first = subject.submit("first").await;
    subject.submit("second").await;
    for attempt in 1..=5 {
        let lease = subject.lease().await;
        assert_eq!((&lease.task.id, lease.attempt), (&first.id, attempt));
        let task = subject.store.release(&lease, Release::Rest).await.expect("the lease is held");
        assert_eq!((task.state, task.outcome), (TaskState::Waiting, None));
    }
}

pub async fn canceling_a_waiting_task_ends_it_at_once(subject: Subject) {
    let task = subject.submit("unwanted").await;
    let canceled = subject.store.cancel(&task.id).await.expect("the task is there");
    assert_eq!((canceled.state, canceled.cancel_requested), (TaskState::Canceled, true));
    assert_eq!(canceled.finished_ms, Some(subject.clock.now_ms()));
    assert_eq!(subject.store.lease("worker", TTL).await, Ok(None));
    assert_eq!(subject.get(&task).await, canceled);
}

pub async fn canceling_a_running_task_asks_it_to_stop(subject: Subject) {
    subject.submit("stop").await;
    let lease = subject.lease().await;
    let asked = subject.store.cancel(&lease.task.id).await.expect("the task is there");
    assert_eq!((asked.state, asked.cancel_requested), (TaskState::Running, true));
    let task =
        subject.store.finish(&lease, TaskState::Canceled, Outcome::default()).await.expect("it is finished");
    assert_eq!(task.state, TaskState::Canceled);
}

pub async fn a_canceled_task_is_not_run_again_when_its_worker_is_lost(subject: Subject) {
    let lost = subject.submit("lost").await;
    let drained = subject.submit("drained").await;
    let lost_lease = subject.lease().await;
    let drained_lease = subject.lease().await;
    for lease in [&lost_lease, &drained_lease] {
        subject.store.cancel(&lease.task.id).await.expect("the task is there");
    }
    subject.store.release(&drained_lease, Release::Rest).await.expect("the lease is held");
    subject.clock.advance(TTL);
    assert_eq!(subject.store.lease("worker", TTL).await, Ok(None));
    assert_eq!(subject.get(&lost).await.state, TaskState::Canceled);
    assert_eq!(subject.get(&drained).await.state, TaskState::Canceled);
}

pub async fn canceling_twice_or_too_late_changes_nothing(subject: Subject) {
    subject.submit("running").await;
    let lease = subject.lease().await;
    let once = subject.store.cancel(&lease.task.id).await.expect("the task is there");
    subject.clock.advance(Duration::from_secs(1));
    assert_eq!(subject.store.cancel(&lease.task.id).await, Ok(once));
    let done =
        subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("it is finished");
    assert_eq!(done.state, TaskState::Succeeded);
    assert_eq!(subject.store.cancel(&done.id).await, Ok(done));
}

pub async fn unknown_ids_are_not_found(subject: Subject) {
    subject.submit("known").await;
    let lease = subject.lease().await;
    let unknown = Task { id: TaskId::parse("unknown").expect("a task id"), ..lease.task.clone() };
    assert_eq!(subject.store.get(&unknown.id).await, Ok(None));
    assert_eq!(subject.store.cancel(&unknown.id).await, Err(TaskStoreError::NotFound));
    let lease = Lease { task: unknown, ..lease };
    assert_eq!(subject.store.extend(&lease, TTL).await, Err(TaskStoreError::NotFound));
}

pub async fn lists_newest_first_by_state_and_owner_up_to_the_limit(subject: Subject) {
    for number in 0..6 {
        let owner = if number % 2 == 0 { "ann" } else { "bob" };
        let task =
            NewTask { owner: owner.to_owned(), priority: number % 3, ..new_task(&format!("t{number}")) };
        subject.store.submit(task).await.expect("the task is stored");
    }
    subject.lease().await;
    subject.lease().await;
    let ids = async |filter: TaskFilter| {
        let page = subject.store.list(filter).await.expect("the store answers");
        page.tasks.iter().map(|task| task.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let all = TaskFilter::default();
    assert_eq!(ids(all.clone()).await, "t5 t4 t3 t2 t1 t0");
    assert_eq!(ids(TaskFilter { limit: 2, ..all.clone() }).await, "t5 t4");
    assert_eq!(ids(TaskFilter { limit: 0, ..all.clone() }).await, "");
    assert_eq!(ids(TaskFilter { owner: Some("ann".to_owned()), ..all.clone() }).await, "t4 t2 t0");
    assert_eq!(ids(TaskFilter { states: vec![TaskState::Running], ..all.clone() }).await, "t5 t2");
    assert_eq!(
        ids(TaskFilter { states: vec![TaskState::Waiting], limit: 3, ..all.clone() }).await,
        "t4 t3 t1"
    );
    let of_bob =
        TaskFilter { owner: Some("bob".to_owned()), states: vec![TaskState::Waiting], ..all.clone() };
    assert_eq!(ids(of_bob).await, "t3 t1");
    let either = vec![TaskState::Running, TaskState::Waiting];
    let of_ann = TaskFilter { owner: Some("ann".to_owned()), states: either, limit: 2, ..all.clone() };
    assert_eq!(ids(of_ann).await, "t4 t2");
    assert_eq!(ids(TaskFilter { states: vec![TaskState::Failed], ..all }).await, "");
}

pub async fn subscribers_hear_of_every_change_once(subject: Subject) {
    let mut changes = subject.store.subscribe();
    let task = subject.submit("heard").await;
    let lease = subject.lease().await;
    subject.store.extend(&lease, TTL).await.expect("the lease is held");
    subject.store.cancel(&task.id).await.expect("the task is there");
    subject.store.cancel(&task.id).await.expect("the task is there");
    subject.store.finish(&lease, TaskState::Canceled, Outcome::default()).await.expect("it is finished");
    let expected = [TaskState::Waiting, TaskState::Running, TaskState::Running, TaskState::Canceled];
    for (revision, state) in (1..).zip(expected) {
        assert_eq!(changes.try_recv(), Ok(TaskChange { id: task.id.clone(), state, revision }));
    }
    assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
}

pub async fn counts_tasks_by_state(subject: Subject) {
    for number in 0..5 {
        subject.submit(&format!("t{number}")).await;
    }
    let lease = subject.lease().await;
    subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("it is finished");
    let lease = subject.lease().await;
    subject.store.finish(&lease, TaskState::Failed, Outcome::default()).await.expect("it is finished");
    let lease = subject.lease().await;
    subject.store.cancel(&TaskId::parse("t4").expect("a task id")).await.expect("the task is there");
    let stats = subject.store.stats().await.expect("the store answers");
    let expected = TaskStats { waiting: 1, running: 1, succeeded: 1, failed: 1, canceled: 1, ..stats };
    assert_eq!((stats, stats.total()), (expected, 5));
    subject.store.release(&lease, Release::Rest).await.expect("the lease is held");
    let stats = subject.store.stats().await.expect("the store answers");
    assert_eq!((stats.waiting, stats.running), (2, 0));
}

pub async fn pages_follow_each_other_without_gap_or_double(subject: Subject) {
    for number in 0..7 {
        let terms = Terms { model: Some(format!("m{}", number % 2)), ..Terms::default() };
        let task = NewTask { terms, ..new_task(&format!("t{number}")) };
        subject.store.submit(task).await.expect("the task is stored");
    }
    for (state, model, expected) in [
        (None, None, "t6 t5 t4 | t3 t2 t1 | t0"),
        (Some(TaskState::Waiting), None, "t6 t5 t4 | t3 t2 t1 | t0"),
        (None, Some("m0"), "t6 t4 t2 | t0"),
        (None, Some("m9"), ""),
    ] {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let filter = TaskFilter {
                states: state.into_iter().collect(),
                model: model.map(str::to_owned),
                after,
                limit: 3,
                ..TaskFilter::default()
            };
            let page = subject.store.list(filter).await.expect("the store answers");
            pages.push(page.tasks.iter().map(|task| task.id.to_string()).collect::<Vec<_>>().join(" "));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages.join(" | "), expected);
    }
    let exact = TaskFilter { limit: 7, ..TaskFilter::default() };
    assert_eq!(subject.store.list(exact).await.expect("the store answers").next, None);
}

pub async fn what_has_ended_is_shown_in_pages_and_counted_by_owner_and_state(subject: Subject) {
    for number in 0..6 {
        let owner = if number % 3 == 0 { "ann" } else { "bob" }.to_owned();
        let task = NewTask { owner, ..new_task(&format!("t{number}")) };
        subject.store.submit(task).await.expect("the task is stored");
    }
    let lease = subject.lease().await;
    subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("the lease is held");
    for id in ["t4", "t1", "t3"] {
        let id = TaskId::parse(id).expect("a task id");
        subject.store.cancel(&id).await.expect("the task is there");
    }
    let shown = async |owner: Option<&str>, states: &[TaskState], offset: usize, limit: usize| {
        let (owner, states) = (owner.map(str::to_owned), states.to_vec());
        let filter = EndedFilter { owner, states, pinned: false, offset, limit };
        let page = subject.store.ended(filter).await.expect("the store answers");
        let ids: Vec<_> = page.tasks.iter().map(|task| task.id.to_string()).collect();
        format!("{} of {}", ids.join(" "), page.total)
    };
    let both = [TaskState::Succeeded, TaskState::Canceled];
    assert_eq!(shown(None, &both, 0, 9).await, "t4 t3 t1 t0 of 4");
    assert_eq!(shown(None, &both, 1, 2).await, "t3 t1 of 4");
    assert_eq!(shown(None, &both, 3, usize::MAX).await, "t0 of 4");
    assert_eq!(shown(None, &both, usize::MAX, 2).await, " of 4");
    assert_eq!(shown(None, &both[1..], 0, 9).await, "t4 t3 t1 of 3");
    assert_eq!(shown(Some("ann"), &both, 0, 9).await, "t3 t0 of 2");
    assert_eq!(shown(Some("nobody"), &both, 0, 9).await, " of 0");
    assert_eq!(shown(None, &TaskState::ALL[..2], 0, 9).await, " of 0", "they have not ended");
    subject.store.remove(&lease.task.id).await.expect("it has ended");
    assert_eq!(shown(Some("ann"), &both, 0, 9).await, "t3 of 1");
}

pub async fn tells_how_many_wait_before_a_task(subject: Subject) {
    for (id, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", -5)] {
        subject.store.submit(NewTask { priority, ..new_task(id) }).await.expect("the task is stored");
    }
    let ahead = async |id: &str| subject.store.ahead(&TaskId::parse(id).expect("a task id")).await;
    assert_eq!((ahead("b").await, ahead("a").await), (Ok(Some(0)), Ok(Some(1))));
    assert_eq!((ahead("c").await, ahead("d").await, ahead("x").await), (Ok(Some(2)), Ok(Some(3)), Ok(None)));
    let parts = async || {
        let parts = subject.store.queue().await.expect("the store answers");
        parts.into_iter().map(|part| (part.priority, part.waiting)).collect::<Vec<_>>()
    };
    assert_eq!(parts().await, [(-5, 1), (0, 2), (5, 1)]);
    subject.lease().await;
    assert_eq!((ahead("b").await, ahead("c").await), (Ok(None), Ok(Some(1))));
    assert_eq!(parts().await, [(-5, 1), (0, 2)]);
}

pub async fn tells_the_places_of_thousands(subject: Subject) {
    let submits = (0..3_000_u32).map(|number| {
        let new = NewTask { priority: (number % 3) as i32, ..new_task(&format!("t{number}")) };
        let store = subject.store.clone();
        async move { store.submit(new).await.expect("the task is stored") }
    });
    futures::future::join_all(submits).await;
    // Of the middle priority, behind a third that is higher, less those that go.
    let ahead = async |id: &str| subject.store.ahead(&TaskId::parse(id).expect("a task id")).await;
    let tasks = subject.store.list(TaskFilter { limit: 1_000, ..TaskFilter::default() }).await;
    let newest = tasks.expect("the store answers").tasks;
    let middle = newest.iter().find(|task| task.priority == 1).expect("one of the middle");
    let before = ahead(middle.id.as_ref()).await.expect("the store answers").expect("it waits");
    assert!((1_000..2_000).contains(&before), "{before}");
    for _ in 0..10 {
        subject.lease().await;
    }
    let low = newest.iter().find(|task| task.priority == 0).expect("one that is low");
    subject.store.cancel(&low.id).await.expect("the task is cancelled");
    assert_eq!(ahead(middle.id.as_ref()).await, Ok(Some(before - 10)));
}

pub async fn concurrent_workers_never_share_an_attempt(subject: Subject) {
    for number in 0..40 {
        subject.submit(&format!("t{number}")).await;
    }
    let workers = (0..8).map(|number| {
        let store = subject.store.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            while let Some(lease) =
                store.lease(&format!("worker{number}"), TTL).await.expect("the store answers")
            {
                store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("the lease is held");
                ids.push(lease.task.id);
            }
            ids
        })
    });
    let mut ids = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        ids.extend(worker.await.expect("the worker ended"));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    assert_eq!(subject.store.stats().await.expect("the store answers").succeeded, 40);
}

pub async fn concurrent_submits_of_one_id_have_one_winner(subject: Subject) {
    let submits = (0..8).map(|priority| {
        let store = subject.store.clone();
        tokio::spawn(async move { store.submit(NewTask { priority, ..new_task("wanted") }).await })
    });
    let mut winners = Vec::new();
    for submit in submits.collect::<Vec<_>>() {
        match submit.await.expect("the submit ended") {
            Ok(task) => winners.push(task),
            Err(error) => assert_eq!(error, TaskStoreError::Exists),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(subject.get(&winners[0]).await, winners[0]);
}
