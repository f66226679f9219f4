//! What web UI clients call their tasks: `task(txt2img-ABC1234)` is no id that could stand in a path here, and two
//! clients may choose the same. Kept in memory for the tasks that were asked for last.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gesso_core::ids::TaskId;

/// The oldest is forgotten first. Web UIs remember 16.
const LABELS_MAX: usize = 1_000;
/// A longer text is no label.
const LABEL_BYTES_MAX: usize = 200;

#[derive(Debug, Default)]
pub(crate) struct Labels(Mutex<VecDeque<Label>>);

#[derive(Debug)]
struct Label {
    owner: String,
    text: String,
    task: TaskId,
}

impl Labels {
    /// The owner calls the task so from now on.
    pub(crate) fn put(&self, owner: &str, text: &str, task: &TaskId) {
        if text.is_empty() || text.len() > LABEL_BYTES_MAX {
            return;
        }
        let mut labels = self.lock();
        if labels.len() >= LABELS_MAX {
            labels.pop_front();
        }
        labels.push_back(Label { owner: owner.into(), text: text.into(), task: task.clone() });
    }

    /// The task that the owner called so last.
    pub(crate) fn task(&self, owner: &str, text: &str) -> Option<TaskId> {
        let labels = self.lock();
        let label = labels.iter().rev().find(|label| label.owner == owner && label.text == text)?;
        Some(label.task.clone())
    }

    /// What its owner calls the task.
    pub(crate) fn of(&self, task: &TaskId) -> Option<String> {
        self.lock().iter().rev().find(|label| label.task == *task).map(|label| label.text.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Label>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_its_owners_and_means_the_newest_task() {
        let labels = Labels::default();
        let id = |text| TaskId::parse(text).unwrap();
        labels.put("ann", "task(x)", &id("a"));
        labels.put("ann", "task(x)", &id("b"));
        labels.put("bob", "task(x)", &id("c"));
        assert_eq!(labels.task("ann", "task(x)"), Some(id("b")));
        assert_eq!((labels.task("olga", "task(x)"), labels.of(&id("c"))), (None, Some("task(x)".into())));
        for number in 0..LABELS_MAX {
            labels.put("ann", &number.to_string(), &id("d"));
        }
        assert_eq!(labels.task("ann", "task(x)"), None);
    }
}
