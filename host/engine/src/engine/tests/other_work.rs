//! Work that is no drawing, between the calls of drawings.

use super::*;
use crate::job::{Enlargement, FaceRestoration};

#[test]
fn a_picture_is_enlarged_between_the_calls_of_drawings() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let drawn = bench.submit_first(1, |_| {});
    let picture = Arc::new(Pixels::new(1, 1, PixelFormat::Gray8, vec![7]).unwrap());
    let enlarge = |cancel| {
        let work = Enlargement { picture: picture.clone(), factor: 2.0, by: PixelUpscaler::Lanczos };
        bench.handle.submit(JobSpec { work: Work::Enlarge(work), priority: 0, cancel }).unwrap()
    };
    let (kept, cancelled) = (enlarge(CancelFlag::default()), CancelFlag::default());
    let gone = enlarge(cancelled.clone());
    cancelled.cancel();
    bench.open();
    assert_eq!(kept.blocking_finish().unwrap(), [(*picture).clone()]);
    assert_eq!(gone.blocking_finish(), Err(JobError::Cancelled));
    drawn.blocking_finish().unwrap();
}

#[test]
fn faces_are_restored_between_the_calls_of_drawings() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let drawn = bench.submit_first(1, |_| {});
    let picture = Arc::new(Pixels::new(1, 1, PixelFormat::Gray8, vec![7]).unwrap());
    let file = model("face");
    let by = FaceRestorer { network: file.clone(), detector: file.clone(), parser: file, fidelity: 0.5 };
    let work = Work::RestoreFaces(FaceRestoration { picture, by });
    let restored = bench.handle.submit(JobSpec { work, priority: 0, cancel: CancelFlag::default() }).unwrap();
    bench.open();
    assert_eq!(restored.blocking_finish().unwrap()[0].data, [12]);
    drawn.blocking_finish().unwrap();
}

#[test]
fn networks_run_between_the_calls_of_drawings() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let drawn = bench.submit_first(1, |_| {});
    let run = |name, cancel| {
        let inputs = [1.0, 2.0].map(|value| Numbers { shape: vec![1], values: vec![value] });
        let work = NetworkRun { network: model(name), inputs: Arc::new(inputs.to_vec()) };
        bench.handle.submit(JobSpec { work: Work::RunNetwork(work), priority: 0, cancel }).unwrap()
    };
    let (run_one, broken) = (run("net", CancelFlag::default()), run("broken", CancelFlag::default()));
    let cancelled = CancelFlag::default();
    let gone = run("net", cancelled.clone());
    cancelled.cancel();
    bench.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let values: Vec<_> = runtime.block_on(run_one.finish_numbers()).unwrap();
    assert_eq!(values.iter().map(|output| output.values[0]).collect::<Vec<_>>(), [2.0, 1.0]);
    let error = runtime.block_on(broken.finish_numbers()).unwrap_err();
    assert!(error.to_string().contains("it is broken"), "{error}");
    assert_eq!(runtime.block_on(gone.finish_numbers()), Err(JobError::Cancelled));
    drawn.blocking_finish().unwrap();
}
