//! A device that computes nothing any more.

use super::*;

fn lost() -> JobError {
    JobError::Backend(BackendError::Lost("the fake was told to".into()))
}

async fn ends(handle: &EngineHandle) {
    tokio::time::timeout(Duration::from_secs(10), handle.ended()).await.expect("the owner thread ends");
}

#[tokio::test]
async fn it_fails_every_job_and_ends_the_thread() {
    let settings = EngineSettings { max_images_in_flight: 2, ..EngineSettings::default() };
    let mut bench = bench(settings, vec![Failure::Ok, Failure::Lost]);
    let first = bench.submit_first(1, |_| {});
    // One of another checkpoint is in none of its calls, and there is no room for a third.
    let beside = bench.submit(2, |drawing| drawing.model = model("other"));
    let waiting = bench.submit(3, |drawing| drawing.model = model("third"));
    assert!(bench.handle.is_alive());
    bench.open();
    for job in [first, beside, waiting] {
        assert_eq!(job.finish().await, Err(lost()));
    }
    ends(&bench.handle).await;
    assert!(!bench.handle.is_alive());
    assert_eq!(bench.handle.submit(spec(drawing(4))).unwrap_err(), SubmitError::ShutDown);
    assert_eq!(bench.handle.load(model("demo")).await, Err(JobError::ShutDown));
    assert_eq!(bench.batches().len(), 2);
}

#[tokio::test]
async fn so_it_does_where_it_is_lost_outside_of_a_call() {
    let loading = bench(EngineSettings::default(), vec![]);
    assert_eq!(loading.handle.load(model("lost")).await, Err(lost()));
    ends(&loading.handle).await;
    let beginning = bench(EngineSettings::default(), vec![]);
    let job = beginning.submit(1, |drawing| drawing.model = model("lost"));
    assert_eq!(job.finish().await, Err(lost()));
    ends(&beginning.handle).await;
}
