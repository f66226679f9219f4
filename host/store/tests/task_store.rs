//! The conformance suite over both task stores, and a state machine that compares sled with the memory model, also
//! across restarts.

use std::sync::Arc;
use std::time::Duration;

use gesso_core::ids::TaskId;
use gesso_store::testing::ManualClock;
use gesso_store::testing::conformance::{Subject, new_task, outcome};
use gesso_store::{
    EndedFilter, EndedPage, Lease, MemoryTasks, MoveTo, NewTask, Payload, QueuePart, Release, SledSettings,
    SledTasks, Task, TaskFilter, TaskState, TaskStats, TaskStore, TaskStoreError, Terms,
};
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000_000;

mod memory {
    use super::*;

    async fn subject() -> (Subject, ()) {
        let clock = ManualClock::new(NOW);
        (Subject { store: Arc::new(MemoryTasks::new(Arc::new(clock.clone()))), clock }, ())
    }

    gesso_store::conformance_tests!(subject);
}

mod sled {
    use super::*;

    async fn subject() -> (Subject, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = ManualClock::new(NOW);
        let store = open(folder.path(), &clock).await;
        (Subject { store: Arc::new(store), clock }, folder)
    }

    gesso_store::conformance_tests!(subject);
}

/// Without a reserve: the machine that runs the tests may be nearly full.
async fn open(folder: &std::path::Path, clock: &ManualClock) -> SledTasks {
    let settings = SledSettings { reserve_bytes: Some(0), ..SledSettings::default() };
    SledTasks::open(folder, settings, Arc::new(clock.clone())).await.expect("the store opens")
}

#[derive(Debug, Clone)]
enum Step {
    Submit { id: u8, priority: i8, start_in: Option<u64>, webhook: bool, no_retry: bool },
    Lease { worker: u8, seconds: u64 },
    Extend { lease: usize, seconds: u64 },
    Finish { lease: usize, state: TaskState },
    Release { lease: usize, why: Release },
    Cancel { id: u8 },
    Ended { seconds_ago: u64, limit: usize },
    Retry { id: u8 },
    Move { id: u8, to: u8 },
    Amend { id: u8, is_stale: bool },
    Rename { id: u8, name: Option<u8> },
    Forget { id: u8 },
    Pin { id: u8, pinned: bool },
    GiveUp { id: u8, is_stale: bool },
    ForgetFiles { id: u8 },
    Filed { seconds_ago: u64, limit: usize },
    Expire,
    Notices,
    Settle { id: u8, seconds: Option<u64> },
    Wait { seconds: u64 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop::sample::select(vec![TaskState::Succeeded, TaskState::Failed, TaskState::Canceled]);
    prop_oneof![
        4 => (0u8..12, any::<i8>(), prop::option::of(0u64..60), any::<bool>(), any::<bool>())
            .prop_map(|(id, priority, start_in, webhook, no_retry)| {
                Step::Submit { id, priority, start_in, webhook, no_retry }
            }),
        6 => (0u8..3, 1u64..40).prop_map(|(worker, seconds)| Step::Lease { worker, seconds }),
        2 => (0usize..8, 1u64..40).prop_map(|(lease, seconds)| Step::Extend { lease, seconds }),
        3 => (0usize..8, end).prop_map(|(lease, state)| Step::Finish { lease, state }),
        1 => (0usize..8, prop::sample::select(vec![Release::Rest, Release::Shortage]))
            .prop_map(|(lease, why)| Step::Release { lease, why }),
        1 => (0u8..12).prop_map(|id| Step::Cancel { id }),
        1 => (0u64..60, 0usize..5).prop_map(|(seconds_ago, limit)| Step::Ended { seconds_ago, limit }),
        2 => (0u8..12).prop_map(|id| Step::Retry { id }),
        2 => (0u8..12).prop_map(|id| Step::Forget { id }),
        3 => (0u8..12, 0u8..14).prop_map(|(id, to)| Step::Move { id, to }),
        1 => (0u8..12, any::<bool>()).prop_map(|(id, is_stale)| Step::Amend { id, is_stale }),
        1 => (0u8..12, prop::option::of(0u8..3)).prop_map(|(id, name)| Step::Rename { id, name }),
        1 => (0u8..12, any::<bool>()).prop_map(|(id, pinned)| Step::Pin { id, pinned }),
        2 => (0u8..12, any::<bool>()).prop_map(|(id, is_stale)| Step::GiveUp { id, is_stale }),
        1 => (0u8..12).prop_map(|id| Step::ForgetFiles { id }),
        1 => (0u64..60, 0usize..5).prop_map(|(seconds_ago, limit)| Step::Filed { seconds_ago, limit }),
        1 => Just(Step::Expire),
        1 => Just(Step::Notices),
        2 => (0u8..12, prop::option::of(0u64..40)).prop_map(|(id, seconds)| Step::Settle { id, seconds }),
        2 => (0u64..30).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ]
}

/// What a step said, in one shape for both stores.
#[derive(Debug, PartialEq)]
enum Said {
    Task(Result<Task, TaskStoreError>),
    Lease(Result<Option<Lease>, TaskStoreError>),
    Tasks(Result<Vec<Task>, TaskStoreError>),
    Count(Result<u64, TaskStoreError>),
    Nothing,
}

async fn apply(store: &dyn TaskStore, step: &Step, leases: &[Lease], now_ms: u64) -> Said {
    // The newest leases, so that valid and stale ones are both likely.
    let lease = |index: usize| leases.iter().rev().nth(index);
    let id = |id: u8| new_task(&format!("t{id}")).id;
    match step {
        Step::Submit { id, priority, start_in, webhook, no_retry } => {
            let priority = i32::from(*priority / 40);
            let start_by_ms = start_in.map(|seconds| now_ms + seconds * 1000);
            let webhook = webhook.then(|| "https://a.example".to_owned());
            let terms = Terms { start_by_ms, webhook, no_retry: *no_retry, ..Terms::default() };
            Said::Task(store.submit(NewTask { priority, terms, ..new_task(&format!("t{id}")) }).await)
        }
        Step::Lease { worker, seconds } => {
            Said::Lease(store.lease(&format!("worker{worker}"), Duration::from_secs(*seconds)).await)
        }
        Step::Extend { lease: index, seconds } => match lease(*index) {
            Some(lease) => Said::Task(store.extend(lease, Duration::from_secs(*seconds)).await),
            None => Said::Nothing,
        },
        Step::Finish { lease: index, state } => match lease(*index) {
            Some(lease) => Said::Task(store.finish(lease, *state, outcome(lease)).await),
            None => Said::Nothing,
        },
        Step::Release { lease: index, why } => match lease(*index) {
            Some(lease) => Said::Task(store.release(lease, *why).await),
            None => Said::Nothing,
        },
        Step::Cancel { id: number } => Said::Task(store.cancel(&id(*number)).await),
        Step::Ended { seconds_ago, limit } => {
            Said::Tasks(store.ended_before(now_ms - seconds_ago * 1000, *limit).await)
        }
        Step::Retry { id: number } => Said::Task(store.retry(&id(*number)).await),
        Step::Forget { id: number } => Said::Task(store.remove(&id(*number)).await),
        Step::Move { id: number, to } => {
            let to = match to {
                12 => MoveTo::First,
                13 => MoveTo::Last,
                other => MoveTo::Before(id(*other)),
            };
            Said::Task(store.reorder(&id(*number), &to).await)
        }
        Step::Amend { id: number, is_stale } => {
            let revision = revision(store, &id(*number)).await - u64::from(*is_stale);
            let payload = Payload::Inline("{}".to_owned());
            Said::Task(store.amend(&id(*number), revision, payload, Some("other".to_owned())).await)
        }
        Step::Rename { id: number, name } => {
            let name = name.map(|name| format!("name {name}"));
            Said::Task(store.rename(&id(*number), name).await)
        }
        Step::Pin { id: number, pinned: true } => Said::Task(store.pin(&id(*number), Some(3)).await),
        Step::Pin { id: number, pinned: false } => Said::Task(store.unpin(&id(*number)).await),
        Step::GiveUp { id: number, is_stale } => {
            let revision = revision(store, &id(*number)).await - u64::from(*is_stale);
            Said::Task(store.give_up_files(&id(*number), revision).await)
        }
        Step::ForgetFiles { id: number } => Said::Task(store.forget_files(&id(*number)).await),
        Step::Filed { seconds_ago, limit } => {
            Said::Tasks(store.filed_before(now_ms - seconds_ago * 1000, *limit).await)
        }
        Step::Expire => Said::Count(store.expire_overdue().await),
        Step::Notices => Said::Tasks(store.due_notices(3, &[]).await),
        Step::Settle { id: number, seconds } => {
            let next_ms = seconds.map(|seconds| now_ms + seconds * 1000);
            let revision = revision(store, &id(*number)).await;
            Said::Task(store.settle_notice(&id(*number), revision, next_ms).await)
        }
        Step::Wait { .. } | Step::Restart => Said::Nothing,
    }
}

/// That of a task; 1 where there is none.
async fn revision(store: &dyn TaskStore, id: &TaskId) -> u64 {
    store.get(id).await.expect("the store answers").map_or(1, |task| task.revision)
}

/// The tasks, some of them again, their places in the queue, the queue, pages of what has ended and of what of it is pinned, and
/// how many there are.
async fn everything(
    store: &dyn TaskStore,
) -> (Vec<Task>, Vec<Option<u64>>, Vec<QueuePart>, [EndedPage; 2], TaskStats) {
    let page =
        store.list(TaskFilter { limit: 1000, ..TaskFilter::default() }).await.expect("the store answers");
    let mut tasks = page.tasks;
    let stats = store.stats().await.expect("the store answers");
    let mut places = Vec::new();
    for task in &tasks {
        places.push(store.ahead(&task.id).await.expect("the store answers"));
    }
    let states = vec![TaskState::Waiting, TaskState::Failed, TaskState::Canceled];
    let some = TaskFilter { states, limit: 2, ..TaskFilter::default() };
    tasks.extend(store.list(some).await.expect("the store answers").tasks);
    let queue = store.queue().await.expect("the store answers");
    let ended =
        EndedFilter { states: TaskState::ALL.to_vec(), offset: 1, limit: 3, ..EndedFilter::default() };
    let pinned = EndedFilter { pinned: true, offset: 0, ..ended.clone() };
    let ended = store.ended(ended).await.expect("the store answers");
    let pinned = store.ended(pinned).await.expect("the store answers");
    (tasks, places, queue, [ended, pinned], TaskStats { size_on_disk: 0, ..stats })
}

async fn compare(steps: Vec<Step>) -> Result<(), TestCaseError> {
    use gesso_store::Clock as _;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = ManualClock::new(NOW);
    let model = MemoryTasks::new(Arc::new(clock.clone()));
    let mut sled = open(folder.path(), &clock).await;
    let mut leases = Vec::new();
    for step in &steps {
        match step {
            Step::Wait { seconds } => clock.advance(Duration::from_secs(*seconds)),
            Step::Restart => {
                drop(sled);
                sled = open(folder.path(), &clock).await;
                model.restart();
            }
            _ => {
                let expected = apply(&model, step, &leases, clock.now_ms()).await;
                let said = apply(&sled, step, &leases, clock.now_ms()).await;
                prop_assert_eq!(&said, &expected, "after {:?}", step);
                if let Said::Lease(Ok(Some(lease))) = said {
                    leases.push(lease);
                }
            }
        }
    }
    prop_assert_eq!(everything(&sled).await, everything(&model).await);
    drop(sled);
    let sled = open(folder.path(), &clock).await;
    model.restart();
    prop_assert_eq!(everything(&sled).await, everything(&model).await);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sled_answers_every_step_like_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(compare(steps))?;
    }
}
