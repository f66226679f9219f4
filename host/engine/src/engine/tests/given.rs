//! A picture that stands in for what the first of two passes would draw.

use gesso_core::refiner::{RefinedPasses, Refiner};

use super::*;
use crate::job::RefinerUse;

/// Two passes, of which a picture stands in for the first.
fn from_picture(drawing: &mut Drawing) {
    with_second_pass(drawing);
    if let (Some(hires), Some(second)) = (&mut drawing.request.hires, &mut drawing.second) {
        hires.from_picture = true;
        second.picture = Some(Arc::new(Pixels::new(1, 1, PixelFormat::Gray8, vec![20]).unwrap()));
    }
}

#[test]
fn the_second_pass_alone_is_opened_and_counted() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit_first(1, |drawing| {
        from_picture(drawing);
        drawing.request.batch_size = 2;
    });
    let progress = job.progress();
    {
        let begun = progress.borrow();
        assert_eq!((begun.calls_done, begun.calls_total), (0, 4));
        assert_eq!((begun.steps, begun.images_total), (2, 2));
    }
    bench.open();
    assert_eq!(job.blocking_finish().unwrap().len(), 2);
    let script = bench.script.lock().unwrap();
    assert_eq!((&script.passes[..], &script.clocks[..]), (&[128][..], &[0, 0, 1, 1][..]));
    assert_eq!(script.given, [20, 20], "one stands in for all");
    assert_eq!(script.seeds.iter().sum::<u64>(), 6, "each picture has its own");
    let end = progress.borrow();
    assert_eq!((end.calls_done, end.calls_total, end.step, end.steps), (4, 4, 2, 2));
}

#[test]
fn a_waiting_job_tells_the_steps_of_the_second_pass() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let first = bench.submit_first(1, |_| {});
    let waiting = bench.submit(2, from_picture);
    assert_eq!(waiting.progress().borrow().steps, 2);
    bench.open();
    first.blocking_finish().unwrap();
    waiting.blocking_finish().unwrap();
}

#[test]
fn the_first_passs_checkpoint_and_refiner_are_left_where_they_are() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.open();
    let job = bench.submit(1, |drawing| {
        from_picture(drawing);
        drawing.model = model("broken");
        drawing.request.refiner = Some(Refiner {
            model: "other".into(),
            switch_at: 0.5,
            by_steps: true,
            passes: RefinedPasses::Both,
        });
        let refiner = |name| Some(RefinerUse { model: model(name), resources: Resources::default() });
        drawing.refiner = refiner("broken");
        drawing.second.as_mut().unwrap().refiner = refiner("other");
    });
    assert_eq!(job.blocking_finish().unwrap()[0].data, [51]);
    assert_eq!(bench.handle.stats().loaded, [model("demo"), model("other")]);
}

#[test]
fn an_interrupted_one_ends_as_it_is() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit_first(1, from_picture);
    job.cancel_flag().interrupt();
    bench.open();
    assert_eq!(job.blocking_finish().unwrap()[0].data, [101]);
}
