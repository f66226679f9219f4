//! Times submits to the task stores, for `cargo xtask bench api`: `time_submits FOLDER`. The durable store is opened as the
//! server opens it, in folders of its own in FOLDER. Prints `name<TAB>submits a second` lines: medians of rounds in turns.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers fails by panicking and speaks on standard output"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use gesso_core::ids::TaskId;
use gesso_store::{
    MemoryTasks, NewTask, Payload, SledSettings, SledTasks, SystemClock, TaskStore, TaskStoreError, Terms,
};

/// Callers that wait for their own submit before the next, so that one flush answers for 64 of them at most.
const CALLERS: usize = 64;
const SUBMITS_EACH: usize = 250;
const ROUNDS: usize = 3;
/// What the server stores of a request that says little.
const BODY: &str = r#"{"prompt":"sea at night","negative_prompt":"","steps":20,"width":512,"height":512,"seed":1,
    "sampler_name":"Euler","cfg_scale":7.0,"override_settings":{"sd_model_checkpoint":"demo-v3"}}"#;

#[tokio::main]
async fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("call it as time_submits FOLDER"));
    let (mut sled, mut memory) = (Vec::new(), Vec::new());
    // In turns, so that both meet the machine in the same mood.
    for round in 0..ROUNDS {
        let folder = folder.join(format!("round-{round}"));
        let store = SledTasks::open(&folder, SledSettings::default(), Arc::new(SystemClock)).await.unwrap();
        sled.push(submits_a_second(Arc::new(store)).await);
        memory.push(submits_a_second(Arc::new(MemoryTasks::new(Arc::new(SystemClock)))).await);
    }
    println!("sled\t{:.1}", median(sled));
    println!("memory\t{:.1}", median(memory));
}

async fn submits_a_second(store: Arc<dyn TaskStore>) -> f64 {
    let began = Instant::now();
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| tokio::spawn(submit_many(Arc::clone(&store), caller))).collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    (CALLERS * SUBMITS_EACH) as f64 / began.elapsed().as_secs_f64()
}

async fn submit_many(store: Arc<dyn TaskStore>, caller: usize) -> Result<(), TaskStoreError> {
    for number in 0..SUBMITS_EACH {
        let new = NewTask {
            id: TaskId::parse(&format!("caller-{caller}-{number}")).unwrap(),
            kind: "txt2img".to_owned(),
            owner: "default".to_owned(),
            priority: 0,
            payload: Payload::Inline(BODY.to_owned()),
            terms: Terms { model: Some("demo-v3.safetensors".to_owned()), ..Terms::default() },
        };
        store.submit(new).await?;
    }
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
