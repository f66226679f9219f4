//! The ended tasks once more, in memory: whose they are, how they ended, and their order. So a page of somebody's history is
//! found, and all of it counted, without reading a record that is not on the page. Kept by the trees, which know what is
//! stored; a task takes some ten bytes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::tasks::rules::Entry;
use crate::tasks::{EndedFilter, LIST_LIMIT, TaskState};

#[derive(Default)]
pub(super) struct Ended {
    /// Sequences by owner and state; none is empty.
    sequences: HashMap<(String, TaskState), BTreeSet<u64>>,
}

impl Ended {
    pub(super) fn enter(&mut self, entry: &Entry) {
        self.sequences.entry(part(entry)).or_default().insert(entry.sequence);
    }

    pub(super) fn leave(&mut self, entry: &Entry) {
        if let Some(sequences) = self.sequences.get_mut(&part(entry)) {
            sequences.remove(&entry.sequence);
            if sequences.is_empty() {
                self.sequences.remove(&part(entry));
            }
        }
    }

    /// The sequences of a page, newest first, and how many there are on all pages.
    pub(super) fn page(&self, filter: &EndedFilter) -> (Vec<u64>, usize) {
        let of_owner = |owner: &str| filter.owner.as_deref().is_none_or(|wanted| wanted == owner);
        let shown = self
            .sequences
            .iter()
            .filter(|((owner, state), _)| filter.states.contains(state) && of_owner(owner));
        let limit = filter.limit.min(LIST_LIMIT);
        let (mut newest, mut total) = (Vec::new(), 0);
        for (_, sequences) in shown {
            total += sequences.len();
            newest.extend(sequences.iter().rev().take(filter.offset.saturating_add(limit)).copied());
        }
        newest.sort_unstable_by_key(|sequence| Reverse(*sequence));
        (newest.into_iter().skip(filter.offset).take(limit).collect(), total)
    }
}

fn part(entry: &Entry) -> (String, TaskState) {
    (entry.task.owner.clone(), entry.task.state)
}
