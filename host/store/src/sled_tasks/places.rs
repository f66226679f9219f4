//! The waiting tasks once more, in memory and counted: how many are ahead of one is asked whenever somebody looks at it, and
//! how many wait for which model at every scrape. Kept by the trees, which know what is stored.

use std::collections::BTreeMap;

use indexset::BTreeSet;

use crate::tasks::{QueuePart, Task};

/// Two numbers, big-endian: inverted priority, place.
pub(super) type IndexKey = [u8; 16];

#[derive(Default)]
pub(super) struct Places {
    /// A tree that knows how many keys are before one.
    keys: BTreeSet<IndexKey>,
    /// By model and priority; none is 0.
    counts: BTreeMap<(Option<String>, i32), u64>,
}

impl Places {
    pub(super) fn enter(&mut self, key: IndexKey, task: &Task) {
        if self.keys.insert(key) {
            *self.counts.entry(part(task)).or_default() += 1;
        }
    }

    pub(super) fn leave(&mut self, key: &IndexKey, task: &Task) {
        if self.keys.remove(key)
            && let Some(count) = self.counts.get_mut(&part(task))
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&part(task));
            }
        }
    }

    pub(super) fn ahead_of(&self, key: &IndexKey) -> u64 {
        self.keys.rank(key) as u64
    }

    pub(super) fn parts(&self) -> Vec<QueuePart> {
        let part = |((model, priority), waiting): (&(Option<String>, i32), &u64)| QueuePart {
            model: model.clone(),
            priority: *priority,
            waiting: *waiting,
        };
        self.counts.iter().map(part).collect()
    }
}

fn part(task: &Task) -> (Option<String>, i32) {
    (task.terms.model.clone(), task.priority)
}
