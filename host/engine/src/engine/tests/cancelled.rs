//! A drawing that is cancelled while its pictures, through already, are yet to be decoded.

use super::*;

#[test]
fn one_that_is_cancelled_while_another_checkpoint_loads_takes_nobody_along() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let flag = CancelFlag::default();
    let (asked, mut loads) = (flag.clone(), 0);
    // Before the first call, which holds the script.
    bench.script.lock().unwrap().on_load = Some(Box::new(move || {
        loads += 1;
        // The first checkpoint is its own.
        if loads == 2 {
            asked.cancel();
        }
    }));
    let mut drawing = drawing(1);
    drawing.request.batch_size = 2;
    let doomed = bench.handle.submit(JobSpec { cancel: flag.clone(), ..spec(drawing) }).unwrap();
    bench.entered.recv().unwrap();
    flag.interrupt();
    let kept = bench.submit(2, |drawing| drawing.model = model("other"));
    bench.open();
    assert_eq!(doomed.blocking_finish().unwrap_err(), JobError::Cancelled);
    assert_eq!(kept.blocking_finish().unwrap()[0].data, [2]);
    assert!(bench.handle.is_alive());
}

#[test]
fn one_that_is_cancelled_while_it_is_decoded_ends_there() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let flag = CancelFlag::default();
    let asked = flag.clone();
    bench.script.lock().unwrap().on_finish = Some(Box::new(move || asked.cancel()));
    bench.open();
    let doomed = bench.handle.submit(JobSpec { cancel: flag, ..spec(drawing(1)) }).unwrap();
    assert_eq!(doomed.blocking_finish().unwrap_err(), JobError::Cancelled);
    assert_eq!(bench.submit(2, |_| {}).blocking_finish().unwrap()[0].data, [2]);
    assert_eq!(bench.handle.stats().failed_jobs, 0);
}

#[test]
fn one_that_is_cancelled_between_two_decodes_ends_there() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.script.lock().unwrap().is_deaf = true;
    let flag = CancelFlag::default();
    let (asked, decoded) = (flag.clone(), Arc::new(Mutex::new(0)));
    let counted = decoded.clone();
    bench.script.lock().unwrap().on_finish = Some(Box::new(move || {
        asked.cancel();
        *counted.lock().unwrap() += 1;
    }));
    bench.open();
    let mut drawing = drawing(1);
    at_no_strength(&mut drawing);
    drawing.request.batch_size = 3;
    let doomed = bench.handle.submit(JobSpec { cancel: flag, ..spec(drawing) }).unwrap();
    assert_eq!(doomed.blocking_finish().unwrap_err(), JobError::Cancelled);
    assert_eq!(*decoded.lock().unwrap(), 1);
    assert_eq!(bench.submit(2, |_| {}).blocking_finish().unwrap()[0].data, [2]);
    assert!(bench.handle.is_alive());
}
