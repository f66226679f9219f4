//! The part of the suite about what is changed of a task that is there: its turn, its request, its name, its pin.

use super::{Subject, new_task, outcome};
use crate::keys::ObjectKey;
use crate::tasks::{
    EndedFilter, INLINE_PAYLOAD_LIMIT, MoveTo, NewTask, Payload, Release, TERM_LIMIT, Task, TaskChange,
    TaskState, TaskStoreError,
};

impl Subject {
    async fn submit_of(&self, owner: &str, id: &str, priority: i32) -> Task {
        let new = NewTask { owner: owner.to_owned(), priority, ..new_task(id) };
        self.store.submit(new).await.expect("the task is stored")
    }

    async fn move_to(&self, id: &str, to: MoveTo) -> Result<Task, TaskStoreError> {
        self.store.reorder(&new_task(id).id, &to).await
    }

    /// Those that wait, in the order in which they are leased.
    async fn turns(&self, ids: &[&str]) -> String {
        let mut turns = Vec::new();
        for id in ids {
            if let Some(ahead) = self.store.ahead(&new_task(id).id).await.expect("the store answers") {
                turns.push((ahead, *id));
            }
        }
        turns.sort_unstable();
        turns.into_iter().map(|(_, id)| id).collect::<Vec<_>>().join(" ")
    }
}

fn before(id: &str) -> MoveTo {
    MoveTo::Before(new_task(id).id)
}

pub async fn a_moved_task_takes_turns_with_its_owners_and_nobody_elses(subject: Subject) {
    for (owner, id, priority) in
        [("ann", "a1", 0), ("bob", "b1", 0), ("ann", "a2", 0), ("ann", "a3", -5), ("bob", "b2", 0)]
    {
        subject.submit_of(owner, id, priority).await;
    }
    let all = ["a1", "a2", "a3", "b1", "b2"];
    assert_eq!(subject.turns(&all).await, "a1 b1 a2 b2 a3");
    let mut changes = subject.store.subscribe();
    // It has the priority of its place.
    let first = subject.move_to("a3", MoveTo::First).await.expect("it waits");
    assert_eq!((first.priority, first.revision), (0, 1));
    assert_eq!(subject.turns(&all).await, "a3 b1 a1 b2 a2");
    let last = subject.move_to("a3", MoveTo::Last).await.expect("it waits");
    assert_eq!((last.priority, &last), (-5, &subject.get(&last).await));
    assert_eq!(subject.turns(&all).await, "a1 b1 a2 b2 a3");
    subject.move_to("a2", before("a1")).await.expect("both wait");
    assert_eq!(subject.turns(&all).await, "a2 b1 a1 b2 a3");
    subject.move_to("b2", MoveTo::First).await.expect("it waits");
    subject.move_to("b2", before("b2")).await.expect("nothing is to be done");
    assert_eq!(subject.turns(&all).await, "a2 b2 a1 b1 a3");
    assert!(changes.try_recv().is_err(), "no task's state is another");
    let parts = subject.store.queue().await.expect("the store answers");
    let parts: Vec<_> = parts.into_iter().map(|part| (part.priority, part.waiting)).collect();
    assert_eq!(parts, [(-5, 1), (0, 4)]);
    // One that is handed back, or comes in, stands where it would.
    let lease = subject.lease().await;
    subject.submit_of("ann", "a4", 0).await;
    let order = ["b2", "a1", "b1", "a4", "a3"].join(" ");
    assert_eq!(subject.turns(&["a1", "a2", "a3", "a4", "b1", "b2"]).await, order);
    subject.store.release(&lease, Release::Rest).await.expect("the lease is held");
    let mut leased = Vec::new();
    for _ in 0..6 {
        leased.push(subject.lease().await.task.id.to_string());
    }
    assert_eq!(leased.join(" "), format!("a2 {order}"));
}

pub async fn only_a_task_that_waits_is_moved_and_only_beside_its_owners(subject: Subject) {
    for (owner, id) in [("ann", "a1"), ("bob", "b1"), ("ann", "a2")] {
        subject.submit_of(owner, id, 0).await;
    }
    let lease = subject.lease().await;
    assert_eq!(lease.task.id, new_task("a1").id);
    let running = Err(TaskStoreError::State(TaskState::Running));
    assert_eq!(subject.move_to("a1", MoveTo::First).await, running);
    for other in ["a1", "b1", "none"] {
        let refused = subject.move_to("a2", before(other)).await;
        assert_eq!(refused, Err(TaskStoreError::NotFound), "{other}");
    }
    assert_eq!(subject.move_to("none", MoveTo::Last).await, Err(TaskStoreError::NotFound));
    subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await.expect("the lease is held");
    let ended = Err(TaskStoreError::State(TaskState::Succeeded));
    assert_eq!(subject.move_to("a1", MoveTo::Last).await, ended);
    assert_eq!(subject.turns(&["a1", "a2", "b1"]).await, "b1 a2");
}

pub async fn a_waiting_task_is_given_another_request_until_it_begins_or_changes(subject: Subject) {
    let task = subject.submit("amended").await;
    let mut changes = subject.store.subscribe();
    let payload = Payload::Object(ObjectKey::payload(&task.id, 7));
    let amend = |revision, payload: &Payload, model: &str| {
        subject.store.amend(&task.id, revision, payload.clone(), Some(model.to_owned()))
    };
    let amended = amend(1, &payload, "other").await.expect("it waits");
    assert_eq!((&amended.payload, amended.terms.model.as_deref()), (&payload, Some("other")));
    assert_eq!((amended.state, amended.revision, amended.place), (TaskState::Waiting, 2, task.place));
    assert_eq!(subject.get(&task).await, amended);
    let told = TaskChange { id: task.id.clone(), state: TaskState::Waiting, revision: 2 };
    assert_eq!(changes.try_recv(), Ok(told));
    let parts = subject.store.queue().await.expect("the store answers");
    assert_eq!(parts.iter().map(|part| part.model.as_deref()).collect::<Vec<_>>(), [Some("other")]);
    // Whoever read the first request knows nothing of the second.
    let late = amend(1, &payload, "late").await;
    assert_eq!(late, Err(TaskStoreError::State(TaskState::Waiting)));
    let long = Payload::Inline("x".repeat(INLINE_PAYLOAD_LIMIT + 1));
    let refused = amend(2, &long, "long").await;
    assert!(matches!(refused, Err(TaskStoreError::TooLarge { .. })), "{refused:?}");
    let refused = amend(2, &payload, &"x".repeat(TERM_LIMIT + 1)).await;
    assert!(matches!(refused, Err(TaskStoreError::Invalid(_))), "{refused:?}");
    let lease = subject.lease().await;
    assert_eq!(lease.task.payload, payload);
    let begun = amend(lease.task.revision, &payload, "begun").await;
    assert_eq!(begun, Err(TaskStoreError::State(TaskState::Running)));
    assert_eq!(subject.get(&task).await, lease.task);
}

pub async fn a_task_has_a_name_in_every_state(subject: Subject) {
    let task = subject.submit("named").await;
    let rename = |name: Option<&str>| subject.store.rename(&task.id, name.map(str::to_owned));
    assert_eq!(rename(Some("the sea")).await.expect("it is there").terms.name.as_deref(), Some("the sea"));
    let lease = subject.lease().await;
    assert_eq!(lease.task.terms.name.as_deref(), Some("the sea"));
    rename(None).await.expect("it is there");
    let ended = subject.store.finish(&lease, TaskState::Succeeded, outcome(&lease)).await;
    let ended = ended.expect("the lease is held");
    assert_eq!(ended.terms.name, None);
    let named = rename(Some("\u{e9}\"")).await.expect("it is there");
    assert_eq!((named.terms.name.as_deref(), named.revision), (Some("\u{e9}\""), ended.revision));
    let long = rename(Some(&"x".repeat(TERM_LIMIT + 1))).await;
    assert!(matches!(long, Err(TaskStoreError::Invalid(_))), "{long:?}");
    assert_eq!(subject.get(&task).await, named);
    assert_eq!(subject.store.rename(&new_task("none").id, None).await, Err(TaskStoreError::NotFound));
}

pub async fn an_owner_pins_no_more_tasks_than_may_be(subject: Subject) {
    for (owner, id) in [("ann", "a1"), ("ann", "a2"), ("ann", "a3"), ("bob", "b1")] {
        subject.submit_of(owner, id, 0).await;
    }
    let pin = async |id: &str, most| subject.store.pin(&new_task(id).id, most).await.map(|task| task.pinned);
    assert_eq!((pin("a1", Some(2)).await, pin("a2", Some(2)).await), (Ok(true), Ok(true)));
    assert_eq!(pin("a3", Some(2)).await, Err(TaskStoreError::TooManyPinned(2)));
    // One that is pinned stays so, and counts once; others' do not count.
    assert_eq!((pin("a1", Some(2)).await, pin("b1", Some(1)).await), (Ok(true), Ok(true)));
    subject.store.cancel(&new_task("a1").id).await.expect("the task is there");
    assert_eq!(pin("a3", Some(2)).await, Err(TaskStoreError::TooManyPinned(2)), "one that has ended too");
    assert_eq!(subject.store.unpin(&new_task("a1").id).await.map(|task| task.pinned), Ok(false));
    assert_eq!(pin("a3", Some(2)).await, Ok(true));
    assert_eq!(pin("a1", None).await, Ok(true), "without a bound");
    subject.store.remove(&new_task("a1").id).await.expect("it has ended");
    subject.store.unpin(&new_task("a2").id).await.expect("the task is there");
    assert_eq!(pin("a2", Some(2)).await, Ok(true), "what is removed counts no more");
}

pub async fn what_is_pinned_and_has_ended_is_shown_in_pages(subject: Subject) {
    for (owner, id) in [("ann", "a1"), ("bob", "b1"), ("ann", "a2"), ("ann", "a3"), ("ann", "a4")] {
        let task = subject.submit_of(owner, id, 0).await;
        if id != "a2" {
            subject.store.pin(&task.id, None).await.expect("the task is there");
        }
        if id != "a4" {
            subject.store.cancel(&task.id).await.expect("the task is there");
        }
    }
    let shown = async |owner: Option<&str>, states: &[TaskState], offset: usize| {
        let (owner, states) = (owner.map(str::to_owned), states.to_vec());
        let filter = EndedFilter { owner, states, pinned: true, offset, limit: 2 };
        let page = subject.store.ended(filter).await.expect("the store answers");
        let ids: Vec<_> = page.tasks.iter().map(|task| task.id.to_string()).collect();
        format!("{} of {}", ids.join(" "), page.total)
    };
    assert_eq!(shown(None, &TaskState::ALL, 0).await, "a3 b1 of 3");
    assert_eq!(shown(None, &TaskState::ALL, 2).await, "a1 of 3");
    assert_eq!(shown(Some("ann"), &TaskState::ALL, 0).await, "a3 a1 of 2");
    assert_eq!(shown(Some("ann"), &[TaskState::Succeeded], 0).await, " of 0");
    subject.store.unpin(&new_task("a3").id).await.expect("the task is there");
    assert_eq!(shown(Some("ann"), &TaskState::ALL, 0).await, "a1 of 1");
}
