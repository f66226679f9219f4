//! Pictures that another checkpoint goes on with.

use gesso_core::refiner::{RefinedPasses, Refiner};

use super::*;
use crate::job::RefinerUse;

/// Refines the first pass by this checkpoint, from half of the steps on.
fn refined_by(name: &str) -> impl Fn(&mut Drawing) {
    let model = model(name);
    move |drawing| {
        let (model, resources) = (model.clone(), Resources::default());
        drawing.request.refiner = Some(Refiner {
            model: model.name.clone(),
            switch_at: 0.5,
            by_steps: true,
            passes: RefinedPasses::Both,
        });
        drawing.refiner = Some(RefinerUse { model, resources });
    }
}

#[test]
fn a_picture_goes_over_to_its_refiner_once_with_its_plan() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.open();
    let job = bench.submit(1, refined_by("other"));
    let progress = job.progress();
    assert_eq!(job.blocking_finish().unwrap()[0].data, [51]);
    assert_eq!(bench.batches(), [[1], [1], [51], [51]]);
    let script = bench.script.lock().unwrap();
    assert_eq!((&script.clocks[..], &script.handed_over[..]), (&[0, 1, 2, 3][..], &[0][..]));
    assert_eq!((progress.borrow().calls_done, progress.borrow().calls_total), (4, 4));
}

#[test]
fn every_picture_of_every_batch_goes_over_with_its_place_in_it() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.open();
    let job = bench.submit(1, |drawing| {
        refined_by("other")(drawing);
        (drawing.request.batch_size, drawing.request.n_iter) = (2, 2);
    });
    assert_eq!(job.blocking_finish().unwrap().len(), 4);
    assert_eq!(bench.script.lock().unwrap().handed_over, [0, 1, 0, 1]);
}

#[test]
fn refined_rows_share_calls_with_drawings_of_their_checkpoint_and_no_others() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let held = bench.submit_first(9, |drawing| drawing.request.width = 128);
    let refined = bench.submit(1, refined_by("other"));
    let first_kind = bench.submit(2, |drawing| drawing.request.steps = 20);
    let second_kind = bench.submit(3, |drawing| {
        drawing.model = model("other");
        drawing.request.steps = 20;
    });
    bench.open();
    for job in [held, refined, first_kind, second_kind] {
        job.blocking_finish().unwrap();
    }
    let batches = bench.batches();
    let together = |a, b| batches.iter().any(|batch| batch.contains(&a) && batch.contains(&b));
    assert!(together(1, 2) && together(51, 3), "{batches:?}");
    assert!(!together(1, 3) && !together(51, 2), "{batches:?}");
}

#[test]
fn both_checkpoints_are_in_memory_before_the_first_call_and_each_is_told_once() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let mut loads = bench.handle.loads();
    let job = bench.submit_first(1, refined_by("other"));
    let both = vec![model("demo"), model("other")];
    assert_eq!((bench.handle.stats().loaded, bench.handle.stats().loading), (both, None));
    bench.open();
    job.blocking_finish().unwrap();
    assert_eq!([loads.try_recv(), loads.try_recv()], [Ok(model("demo")), Ok(model("other"))]);
    assert!(loads.try_recv().is_err());
}

#[test]
fn a_refiner_that_cannot_be_used_fails_its_job_before_anything_is_drawn() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.open();
    let error = bench.submit(1, refined_by("broken")).blocking_finish().unwrap_err().to_string();
    assert!(error.contains("it is broken"), "{error}");
    assert!(bench.batches().is_empty());
    bench.submit(2, |_| {}).blocking_finish().unwrap();
}

#[test]
fn a_second_pass_begins_with_its_own_checkpoint_and_is_refined_by_itself() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.open();
    let job = bench.submit(1, |drawing| {
        refined_by("other")(drawing);
        with_second_pass(drawing);
        let refiner = drawing.refiner.take();
        drawing.second.as_mut().unwrap().refiner = refiner;
    });
    assert_eq!(job.blocking_finish().unwrap()[0].data, [51]);
    // Four calls of the first pass, then two of the second, one of them refined.
    assert_eq!(bench.batches(), [[1], [1], [1], [1], [1], [51]]);
    assert_eq!(bench.script.lock().unwrap().passes, [64, 128, 128]);
}

#[test]
fn an_interrupted_picture_does_not_go_over_any_more() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit_first(1, refined_by("other"));
    job.cancel_flag().interrupt();
    bench.open();
    assert_eq!(job.blocking_finish().unwrap()[0].data, [101]);
    assert!(bench.script.lock().unwrap().handed_over.is_empty());
}
