//! One batch that ends early while the others of its drawing go on.

use super::*;

/// Calls with so many rows at most, always those of the first pictures that are under way.
fn in_order(max_rows: usize) -> EngineSettings {
    let rules = Rules { max_rows, ageing: Duration::from_secs(3600) };
    EngineSettings { rules, ..EngineSettings::default() }
}

/// Acts while UNet calls are under way, by their number.
fn during(bench: &Bench, mut act: impl FnMut(usize) + Send + 'static) {
    let mut script = bench.script.lock().unwrap();
    let mut before = script.on_step.take().unwrap();
    script.on_step = Some(Box::new(move |number: usize| {
        before(number);
        act(number);
    }));
}

/// Skips during these calls.
fn skip_during(bench: &Bench, flag: &CancelFlag, calls: &[usize]) {
    let (flag, calls) = (flag.clone(), calls.to_vec());
    during(bench, move |number| {
        if calls.contains(&number) {
            flag.skip();
        }
    });
}

/// A drawing of so many batches.
fn submit(bench: &Bench, cancel: CancelFlag, n_iter: u32) -> JobHandle {
    let mut drawing = drawing(1);
    drawing.request.n_iter = n_iter;
    bench.handle.submit(JobSpec { cancel, ..spec(drawing) }).unwrap()
}

/// What each picture was drawn to.
fn pictures(job: JobHandle) -> Vec<u8> {
    job.blocking_finish().unwrap().iter().map(|picture| picture.data[0]).collect()
}

/// Rows of each call.
fn rows(bench: &Bench) -> Vec<usize> {
    bench.batches().iter().map(Vec::len).collect()
}

#[test]
fn a_skip_ends_the_first_batch_and_the_others_are_drawn_in_full() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit_first(1, |drawing| {
        (drawing.request.batch_size, drawing.request.n_iter) = (2, 3);
    });
    let flag = job.cancel_flag();
    assert!(!flag.is_skipping() && !flag.has_skipped());
    flag.skip();
    flag.skip();
    assert!(flag.is_skipping());
    bench.open();
    assert_eq!(pictures(job), [101, 101, 1, 1, 1, 1]);
    assert_eq!(rows(&bench), [6, 4, 4, 4]);
    assert!(!flag.is_skipping() && flag.has_skipped());
}

#[test]
fn another_skip_ends_the_next_batch() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let flag = CancelFlag::default();
    skip_during(&bench, &flag, &[0, 2]);
    bench.open();
    assert_eq!(pictures(submit(&bench, flag, 3)), [101, 101, 1]);
    assert_eq!(rows(&bench), [3, 2, 2, 1]);
}

#[test]
fn a_skip_of_the_only_batch_is_an_interrupt() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit_first(1, |_| {});
    job.cancel_flag().skip();
    bench.open();
    assert_eq!(pictures(job), [101]);
    assert_eq!(rows(&bench), [1]);
}

#[test]
fn pictures_of_a_skipped_batch_that_have_not_begun_are_not_lost() {
    let mut bench = bench(in_order(2), vec![]);
    let job = bench.submit_first(1, |drawing| {
        (drawing.request.batch_size, drawing.request.n_iter) = (3, 2);
    });
    job.cancel_flag().skip();
    bench.open();
    assert_eq!(pictures(job), [101, 101, 101, 1, 1, 1]);
    let rows: usize = rows(&bench).iter().sum();
    assert_eq!(rows, 3 + 3 * 4, "each that was skipped took one call");
}

#[test]
fn a_skip_in_either_pass_leaves_the_other_batch_both() {
    for (call, wanted) in [(1, [2, 2, 1, 1, 1, 1]), (4, [2, 2, 2, 2, 2, 1])] {
        let mut bench = bench(EngineSettings::default(), vec![]);
        let flag = CancelFlag::default();
        skip_during(&bench, &flag, &[call]);
        bench.open();
        let mut drawing = drawing(1);
        with_second_pass(&mut drawing);
        drawing.request.n_iter = 2;
        let job = bench.handle.submit(JobSpec { cancel: flag, ..spec(drawing) }).unwrap();
        assert_eq!(pictures(job), [101, 1]);
        assert_eq!(rows(&bench), wanted);
        assert_eq!(bench.script.lock().unwrap().passes, [64, 128]);
    }
}

#[test]
fn a_skip_that_comes_too_late_for_its_batch_ends_no_other() {
    let mut bench = bench(in_order(1), vec![]);
    let flag = CancelFlag::default();
    // The last call of the first picture; the second has not begun.
    skip_during(&bench, &flag, &[3]);
    bench.open();
    assert_eq!(pictures(submit(&bench, flag.clone(), 2)), [1, 1]);
    assert!(!flag.is_skipping() && !flag.has_skipped());
}

#[test]
fn a_skip_before_a_drawing_begins_is_forgotten() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let held = bench.submit_first(2, |_| {});
    let flag = CancelFlag::default();
    let waiting = submit(&bench, flag.clone(), 2);
    flag.skip();
    bench.open();
    held.blocking_finish().unwrap();
    assert_eq!(pictures(waiting), [1, 1]);
    assert!(!flag.is_skipping() && !flag.has_skipped());
}

#[test]
fn of_drawings_that_share_a_skip_it_ends_a_batch_of_the_first_alone() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let whole = CancelFlag::default();
    skip_during(&bench, &whole, &[1]);
    let first = submit(&bench, whole.part(), 2);
    let second = submit(&bench, whole.part(), 2);
    bench.open();
    assert_eq!((pictures(first), pictures(second)), (vec![101, 1], vec![1, 1]));
    assert!(!whole.is_skipping() && whole.has_skipped());
    assert_eq!(pictures(submit(&bench, whole.part(), 1)), [1]);
}

#[test]
fn the_end_of_a_shorter_drawing_takes_no_skip_from_a_longer_one_before_it() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let whole = CancelFlag::default();
    // The second is in the calls 1 and 2.
    skip_during(&bench, &whole, &[2]);
    let first = submit(&bench, whole.part(), 1);
    bench.entered.recv().unwrap();
    let mut short = drawing(1);
    short.request.steps = 2;
    let second = bench.handle.submit(JobSpec { cancel: whole.part(), ..spec(short) }).unwrap();
    bench.open();
    assert_eq!((pictures(first), pictures(second)), (vec![101], vec![1]));
    assert_eq!(rows(&bench), [1, 2, 2]);
}

#[test]
fn a_drawing_that_is_cancelled_takes_its_skip_along() {
    let mut bench = bench(in_order(1), vec![]);
    let whole = CancelFlag::default();
    let (asked, part) = (whole.clone(), whole.part());
    let doomed = part.clone();
    during(&bench, move |number| match number {
        0 => asked.skip(),
        1 => doomed.cancel(),
        _ => {}
    });
    let mut three = drawing(1);
    three.request.batch_size = 3;
    let job = bench.handle.submit(JobSpec { cancel: part, ..spec(three) }).unwrap();
    bench.open();
    assert_eq!(job.blocking_finish().unwrap_err(), JobError::Cancelled);
    assert!(whole.has_skipped() && !whole.is_skipping() && !whole.is_cancelled());
}
