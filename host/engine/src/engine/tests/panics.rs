//! A backend that panics: the jobs it does so in fail, and the owner thread goes on.

use gesso_core::refiner::{RefinedPasses, Refiner};

use super::*;
use crate::job::RefinerUse;

impl Fake {
    /// Panics, once, where the script says so. The script is not held meanwhile, or nobody could look at it afterwards.
    pub(super) fn panic_if_told(&self, here: &str) {
        let told = self.script.lock().unwrap().panic_in.take_if(|place| *place == here);
        assert!(told.is_none(), "the fake was told to panic");
    }
}

fn panicked() -> JobError {
    JobError::Panicked("the fake was told to panic".into())
}

#[test]
fn a_panic_fails_the_jobs_of_that_call_and_leaves_the_thread_alive() {
    let mut bench = bench(EngineSettings::default(), vec![Failure::Panic]);
    let failed = bench.submit_first(1, |_| {});
    let kept = bench.submit(2, |_| {});
    bench.open();
    assert_eq!(failed.blocking_finish().unwrap_err(), panicked());
    kept.blocking_finish().unwrap();
    assert_eq!(bench.handle.stats().failed_jobs, 1);
}

#[test]
fn one_as_a_picture_goes_over_to_its_refiner_fails_that_drawing_alone() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.script.lock().unwrap().panic_in = Some("hand_over");
    let failed = bench.submit_first(1, |drawing| {
        let (model, resources) = (model("other"), Resources::default());
        let (switch_at, passes) = (0.5, RefinedPasses::Both);
        drawing.request.refiner =
            Some(Refiner { model: model.name.clone(), switch_at, by_steps: true, passes });
        drawing.refiner = Some(RefinerUse { model, resources });
    });
    let kept = bench.submit(2, |_| {});
    bench.open();
    assert_eq!(failed.blocking_finish().unwrap_err(), panicked());
    assert_eq!(kept.blocking_finish().unwrap()[0].data, [2]);
    let calls_of_failed = bench.batches().iter().filter(|batch| batch.contains(&1)).count();
    assert_eq!(calls_of_failed, 2, "none after the panic");
    assert_eq!(bench.handle.stats().failed_jobs, 1);
    assert!(bench.handle.is_alive());
}

#[test]
fn one_as_a_drawing_is_interrupted_fails_that_drawing_alone() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.script.lock().unwrap().panic_in = Some("settle");
    let failed = bench.submit_first(1, |drawing| drawing.request.steps = 100);
    let kept = bench.submit(2, |_| {});
    failed.cancel_flag().interrupt();
    bench.open();
    assert_eq!(failed.blocking_finish().unwrap_err(), panicked());
    assert_eq!(kept.blocking_finish().unwrap()[0].data, [2]);
    assert!(bench.handle.is_alive());
}
