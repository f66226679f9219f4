//! What a drawing may have of the machine, as far as the owner thread keeps it.

use super::*;
use crate::job::Share;

#[test]
fn calls_have_no_more_rows_than_the_share_of_their_drawings_has_room_for() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let within = |drawing: &mut Drawing| drawing.share = Share { bytes_max: Some(2), ..Share::default() };
    let first = bench.submit_first(1, within);
    let others: Vec<_> = (2..6).map(|seed| bench.submit(seed, within)).collect();
    bench.open();
    first.blocking_finish().unwrap();
    for job in others {
        job.blocking_finish().unwrap();
    }
    let batches = bench.batches();
    assert_eq!(batches.iter().map(Vec::len).max(), Some(2), "{batches:?}");
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 5 * 4);
}

#[test]
fn drawings_of_other_shares_do_not_join_a_call() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let first = bench.submit_first(1, |_| {});
    let whole = bench.submit(2, |_| {});
    let part = bench.submit(3, |drawing| drawing.share = Share { bytes_max: Some(5), ..Share::default() });
    bench.open();
    for job in [first, whole, part] {
        job.blocking_finish().unwrap();
    }
    let batches = bench.batches();
    assert!(batches.iter().all(|batch| !batch.contains(&3) || batch.len() == 1), "{batches:?}");
    assert!(batches.iter().any(|batch| batch.len() == 2), "{batches:?}");
}

#[test]
fn a_second_pass_has_the_share_of_its_drawing_or_its_own() {
    let rows = |rows| Share { bytes_max: Some(rows), ..Share::default() };
    for (own, of_second) in [(None, &[2, 2][..]), (Some(rows(1)), &[1, 1, 1, 1])] {
        let mut bench = bench(EngineSettings::default(), vec![]);
        let job = bench.submit(1, |drawing| {
            with_second_pass(drawing);
            drawing.request.batch_size = 2;
            drawing.share = rows(2);
            drawing.second.as_mut().unwrap().share = own;
        });
        bench.open();
        job.blocking_finish().unwrap();
        let drawn: Vec<_> = bench.batches().iter().map(Vec::len).collect();
        assert_eq!(drawn, [&[2; 4][..], of_second].concat());
    }
}
