//! What is told of the checkpoint that is on its way into memory.

use super::*;

/// Holds the owner thread whenever it brings a checkpoint in: the first end hears of it, dropping or sending on the second
/// lets it go on.
fn held(bench: &Bench) -> (std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let (begin, begun) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    bench.script.lock().unwrap().on_load = Some(Box::new(move || {
        begin.send(()).ok();
        wait.recv().ok();
    }));
    (begun, go)
}

#[test]
fn a_drawings_checkpoint_is_told_to_be_loading_until_it_is_loaded() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let (begun, go) = held(&bench);
    assert_eq!(bench.handle.stats().loading, None);
    let mut loads = bench.handle.loads();
    let job = bench.submit(1, |drawing| {
        with_second_pass(drawing);
        drawing.second.as_mut().unwrap().model = model("other");
    });
    begun.recv().unwrap();
    let stats = bench.handle.stats();
    assert_eq!((stats.loading, stats.loaded), (Some(model("demo")), vec![]));
    go.send(()).unwrap();
    // It is in its first call.
    bench.entered.recv().unwrap();
    let stats = bench.handle.stats();
    assert_eq!((stats.loading, stats.loaded), (None, vec![model("demo")]));
    bench.open();
    begun.recv().unwrap();
    assert_eq!(bench.handle.stats().loading, Some(model("other")), "that of the second pass");
    drop(go);
    job.blocking_finish().unwrap();
    let stats = bench.handle.stats();
    assert_eq!((stats.loading, stats.loaded), (None, vec![model("demo"), model("other")]));
    assert_eq!([loads.try_recv(), loads.try_recv()], [Ok(model("demo")), Ok(model("other"))]);
    assert!(loads.try_recv().is_err(), "each is told once");
}

#[test]
fn a_checkpoint_that_cannot_be_loaded_is_not_loading_for_ever() {
    let bench = bench(EngineSettings::default(), vec![]);
    let (begun, go) = held(&bench);
    let mut loads = bench.handle.loads();
    let handle = bench.handle.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let loaded = std::thread::spawn(move || runtime.block_on(handle.load(model("broken"))));
    begun.recv().unwrap();
    assert_eq!(bench.handle.stats().loading, Some(model("broken")));
    drop(go);
    assert!(loaded.join().unwrap().is_err());
    let stats = bench.handle.stats();
    assert_eq!((stats.loading, stats.loaded), (None, vec![]));
    assert!(loads.try_recv().is_err());
}

#[tokio::test]
async fn models_are_brought_in_and_dropped_between_jobs_and_a_bad_one_is_told() {
    let bench = bench(EngineSettings::default(), vec![]);
    bench.handle.load(model("demo")).await.unwrap();
    assert_eq!(bench.handle.stats().loaded, [model("demo")]);
    let host = bench.handle.stats().residency.host;
    assert_eq!((host.models, host.bytes), (vec![(model("demo"), MODEL_BYTES)], MODEL_BYTES));
    let broken = bench.handle.load(model("broken")).await;
    assert_eq!(broken, Err(JobError::Backend(BackendError::Model("it is broken".into()))));
    bench.handle.unload().await.unwrap();
    assert_eq!(bench.handle.stats().loaded, []);
    assert_eq!(bench.handle.stats().residency.host.bytes, 0);
}

#[test]
fn the_bound_of_the_memory_is_told_before_anything_is_loaded() {
    let bench = bench(EngineSettings::default(), vec![]);
    let host = bench.handle.stats().residency.host;
    assert_eq!((host.bytes, host.bytes_max), (0, u64::MAX));
}
