//! All tasks once more, in memory: whose they are, their states, whether they are pinned, and their order. So a page of
//! somebody's tasks is found, and all that ended or are pinned counted, without reading a record that is not asked for. Kept by
//! the trees, which know what is stored; a task takes some ten bytes.

use std::collections::btree_set::Range;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::iter::Rev;

use crate::tasks::rules::Entry;
use crate::tasks::{EndedFilter, LIST_LIMIT, TaskState};

#[derive(Default)]
pub(super) struct Owned {
    /// Sequences; none is empty.
    sequences: HashMap<Part, BTreeSet<u64>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Part {
    owner: String,
    state: TaskState,
    pinned: bool,
}

impl Part {
    fn of(entry: &Entry) -> Self {
        Self { owner: entry.task.owner.clone(), state: entry.task.state, pinned: entry.task.pinned }
    }
}

impl Owned {
    pub(super) fn enter(&mut self, entry: &Entry) {
        self.sequences.entry(Part::of(entry)).or_default().insert(entry.sequence);
    }

    pub(super) fn leave(&mut self, entry: &Entry) {
        let part = Part::of(entry);
        if let Some(sequences) = self.sequences.get_mut(&part) {
            sequences.remove(&entry.sequence);
            if sequences.is_empty() {
                self.sequences.remove(&part);
            }
        }
    }

    /// How many of an owner's are pinned, in any state.
    pub(super) fn pinned(&self, owner: &str) -> u64 {
        let parts = self.parts(Some(owner), &TaskState::ALL, &[true]);
        parts.iter().map(|sequences| sequences.len() as u64).sum()
    }

    /// Up to `count` sequences below `before`, the newest first: of one owner or of all, in these states or, where there are
    /// none, in any.
    pub(super) fn newest(
        &self,
        owner: Option<&str>,
        states: &[TaskState],
        before: u64,
        count: usize,
    ) -> Vec<u64> {
        let states = if states.is_empty() { &TaskState::ALL[..] } else { states };
        Newest::of(&self.parts(owner, states, &[false, true]), before).take(count).collect()
    }

    /// The sequences of a page of what has ended, newest first, and how many there are on all pages.
    pub(super) fn page(&self, filter: &EndedFilter) -> (Vec<u64>, usize) {
        let mut states = filter.states.clone();
        states.retain(|state| state.is_terminal());
        let pinned: &[bool] = if filter.pinned { &[true] } else { &[false, true] };
        let parts = self.parts(filter.owner.as_deref(), &states, pinned);
        let total: usize = parts.iter().map(|sequences| sequences.len()).sum();
        if filter.offset >= total {
            return (Vec::new(), total);
        }
        let page = Newest::of(&parts, u64::MAX).skip(filter.offset).take(filter.limit.min(LIST_LIMIT));
        (page.collect(), total)
    }

    fn parts(&self, owner: Option<&str>, states: &[TaskState], pinned: &[bool]) -> Vec<&BTreeSet<u64>> {
        let Some(owner) = owner else {
            let is_wanted = |part: &Part| states.contains(&part.state) && pinned.contains(&part.pinned);
            let all = self.sequences.iter().filter(|(part, _)| is_wanted(part));
            return all.map(|(_, sequences)| sequences).collect();
        };
        let wanted = TaskState::ALL.into_iter().filter(|state| states.contains(state));
        let parts = wanted.flat_map(|state| {
            pinned.iter().map(move |pinned| Part { owner: owner.to_owned(), state, pinned: *pinned })
        });
        parts.filter_map(|part| self.sequences.get(&part)).collect()
    }
}

/// The sequences of several sets, the highest first, without looking at more of a set than is taken.
struct Newest<'a> {
    parts: Vec<Rev<Range<'a, u64>>>,
    /// The next of each part, and which part it is of.
    heads: BinaryHeap<(u64, usize)>,
}

impl<'a> Newest<'a> {
    fn of(sets: &[&'a BTreeSet<u64>], before: u64) -> Self {
        let mut parts: Vec<_> = sets.iter().map(|set| set.range(..before).rev()).collect();
        let heads = parts.iter_mut().enumerate().filter_map(|(place, part)| Some((*part.next()?, place)));
        let heads = heads.collect();
        Self { parts, heads }
    }
}

impl Iterator for Newest<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (sequence, place) = self.heads.pop()?;
        if let Some(next) = self.parts.get_mut(place).and_then(Iterator::next) {
            self.heads.push((*next, place));
        }
        Some(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::NewTask;
    use crate::testing::conformance::new_task;

    fn owned() -> Owned {
        let mut owned = Owned::default();
        for sequence in 0..12 {
            let owner = if sequence % 2 == 0 { "ann" } else { "bob" };
            let new = NewTask { owner: owner.to_owned(), ..new_task(&format!("t{sequence}")) };
            let mut entry = Entry::new(new, sequence, 1).unwrap();
            if sequence % 3 == 0 {
                entry.cancel(2);
            }
            if sequence % 6 == 0 {
                entry.pin(0, None).unwrap();
            }
            owned.enter(&entry);
        }
        owned
    }

    #[test]
    fn sets_are_merged_newest_first_from_a_place_on() {
        let owned = owned();
        let newest = |owner, states: &[TaskState], before, count| owned.newest(owner, states, before, count);
        assert_eq!(newest(None, &[], u64::MAX, 5), [11, 10, 9, 8, 7]);
        assert_eq!(newest(Some("ann"), &[], 9, 9), [8, 6, 4, 2, 0]);
        assert_eq!(newest(Some("bob"), &[TaskState::Canceled], u64::MAX, 9), [9, 3]);
        assert_eq!(newest(None, &[TaskState::Canceled], 9, 9), [6, 3, 0]);
        assert_eq!(newest(Some("ann"), &[TaskState::Failed], u64::MAX, 9), [0; 0]);
        assert_eq!(newest(Some("nobody"), &[], u64::MAX, 9), [0; 0]);
        assert_eq!(newest(None, &[], 0, 9), [0; 0]);
    }

    #[test]
    fn a_page_of_what_has_ended_knows_all_of_it_however_far_behind_it_is() {
        let owned = owned();
        let page = |owner: Option<&str>, states: &[TaskState], offset| {
            let owner = owner.map(str::to_owned);
            owned.page(&EndedFilter { owner, states: states.to_vec(), pinned: false, offset, limit: 2 })
        };
        assert_eq!(page(None, &TaskState::ALL, 1), (vec![6, 3], 4));
        assert_eq!(page(Some("ann"), &[TaskState::Canceled, TaskState::Canceled], 0), (vec![6, 0], 2));
        assert_eq!(page(None, &TaskState::ALL, usize::MAX), (Vec::new(), 4));
        assert_eq!(page(None, &[TaskState::Waiting], 0), (Vec::new(), 0));
    }

    #[test]
    fn what_is_pinned_is_counted_in_any_state_and_shown_once_it_has_ended() {
        let mut owned = owned();
        let mut waiting = Entry::new(NewTask { owner: "ann".to_owned(), ..new_task("w") }, 12, 1).unwrap();
        waiting.pin(0, None).unwrap();
        owned.enter(&waiting);
        assert_eq!((owned.pinned("ann"), owned.pinned("bob")), (3, 0));
        let filter =
            EndedFilter { states: TaskState::ALL.to_vec(), pinned: true, limit: 9, ..EndedFilter::default() };
        assert_eq!(owned.page(&filter), (vec![6, 0], 2));
        owned.leave(&waiting);
        assert_eq!(owned.pinned("ann"), 2);
    }
}
