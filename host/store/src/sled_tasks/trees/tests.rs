//! What is read for an answer: what lies in the place of the other records is no record, and would be told.

use super::*;
use crate::sled_tasks::{SledSettings, guard};
use crate::tasks::{NewTask, Task, Terms};
use crate::testing::conformance::new_task;

#[test]
fn a_page_of_what_has_ended_reads_its_own_records_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let trees = guard::open(folder.path(), &SledSettings::default()).unwrap();
    for number in 0..500 {
        let mut entry = Entry::new(new_task(&format!("t{number}")), number, 1).unwrap();
        entry.cancel(2);
        trees.replace(None, Some(&entry)).unwrap();
    }
    for number in (0..500).filter(|number| !(485..490).contains(number)) {
        trees.tasks.insert(format!("t{number}"), "no record").unwrap();
    }
    let page = |limit| {
        let states = vec![TaskState::Canceled, TaskState::Failed];
        trees.ended(&EndedFilter { states, offset: 10, limit, ..EndedFilter::default() })
    };
    let EndedPage { tasks, total } = page(5).unwrap();
    let ids: Vec<_> = tasks.iter().map(|task| task.id.to_string()).collect();
    assert_eq!((ids.join(" "), total), ("t489 t488 t487 t486 t485".into(), 500));
    assert!(matches!(page(6), Err(TaskStoreError::Corrupt(_))), "the sixth is no record");
}

#[test]
fn somebodys_tasks_are_listed_without_reading_those_of_others_or_in_other_states() {
    let folder = tempfile::tempdir().unwrap();
    let trees = guard::open(folder.path(), &SledSettings::default()).unwrap();
    for number in 0..600 {
        let owner = if number % 100 == 0 { "ann" } else { "bob" };
        let new = NewTask { owner: owner.to_owned(), ..new_task(&format!("t{number}")) };
        let mut entry = Entry::new(new, number, 1).unwrap();
        if number != 300 {
            entry.cancel(2);
        }
        trees.replace(None, Some(&entry)).unwrap();
    }
    for number in (0..600).filter(|number| number % 100 != 0 || *number == 300) {
        trees.tasks.insert(format!("t{number}"), "no record").unwrap();
    }
    let list = |owner: Option<&str>, after| {
        let (owner, states) = (owner.map(str::to_owned), vec![TaskState::Canceled, TaskState::Failed]);
        let page = trees.list(&TaskFilter { owner, states, after, limit: 3, ..TaskFilter::default() })?;
        let ids: Vec<_> = page.tasks.iter().map(|task| task.id.to_string()).collect();
        Ok::<_, TaskStoreError>((ids.join(" "), page.next))
    };
    assert_eq!(list(Some("ann"), None), Ok(("t500 t400 t200".to_owned(), Some(200))));
    assert_eq!(list(Some("ann"), Some(200)), Ok(("t100 t0".to_owned(), None)));
    assert!(matches!(list(None, None), Err(TaskStoreError::Corrupt(_))), "others' are no records");
}

#[test]
fn what_is_due_is_found_without_reading_what_is_owed_to_owners_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let trees = guard::open(folder.path(), &SledSettings::default()).unwrap();
    for (number, owner) in (0..3).zip(["ann", "bob", "ann"]) {
        let terms = Terms { webhook: Some("https://a.example".to_owned()), ..Terms::default() };
        let new = NewTask { owner: owner.to_owned(), terms, ..new_task(&format!("t{number}")) };
        let mut entry = Entry::new(new, number, 1).unwrap();
        entry.cancel(2);
        trees.replace(None, Some(&entry)).unwrap();
    }
    for id in ["t0", "t2"] {
        trees.tasks.insert(id, "no record").unwrap();
    }
    let due = |but: &[&str]| {
        let but: Vec<_> = but.iter().map(ToString::to_string).collect();
        let entries = trees.due_notices(2, 9, &but)?;
        Ok::<_, TaskStoreError>(entries.iter().map(|entry| entry.task.id.to_string()).collect::<String>())
    };
    assert_eq!(due(&["ann"]), Ok("t1".to_owned()));
    assert_eq!(due(&["ann", "bob"]), Ok(String::new()));
    assert!(matches!(due(&["bob"]), Err(TaskStoreError::Corrupt(_))), "ann's are no records");
}

#[test]
fn retention_reads_no_record_that_is_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let trees = guard::open(folder.path(), &SledSettings::default()).unwrap();
    for number in 0..3 {
        let mut entry = Entry::new(new_task(&format!("t{number}")), number, 1).unwrap();
        entry.cancel(2);
        trees.replace(None, Some(&entry)).unwrap();
    }
    let set = |pinned| {
        let old = trees.get(b"t0").unwrap().unwrap();
        let new = Entry { task: Task { pinned, ..old.task.clone() }, ..old.clone() };
        trees.replace(Some(&old), Some(&new)).unwrap();
    };
    let ended = || {
        let entries = trees.ended_before(3, 1)?;
        Ok::<_, TaskStoreError>(entries.iter().map(|entry| entry.task.id.to_string()).collect::<String>())
    };
    set(true);
    let record = trees.tasks.insert("t0", "no record").unwrap().unwrap();
    assert_eq!(ended(), Ok("t1".to_owned()));
    trees.tasks.insert("t0", record).unwrap();
    set(false);
    assert_eq!(ended(), Ok("t0".to_owned()));
}
