//! `deterministic = true`: a picture is the same to the bit whatever is drawn beside it.

use serde_json::{Value, json};

use super::drawing::draw;
use crate::support::{Bench, Server};

fn pictures(server: &Server, changes: &Value) -> Vec<u8> {
    draw(server, "txt2img", changes.clone()).0.data
}

#[test]
fn a_picture_is_the_same_to_the_bit_in_any_company() {
    let bench = Bench::new().config("deterministic = true\n");
    let server = bench.start();
    let requests: Vec<Value> = ["a red circle", "sea at night", "mountain landscape during sunset"]
        .iter()
        .zip(["Euler a", "DPM++ 2M", "DPM++ SDE"])
        .enumerate()
        .map(|(index, (prompt, sampler))| {
            json!({"prompt": prompt, "sampler_name": sampler, "steps": 6, "seed": 40 + index})
        })
        .collect();
    let alone: Vec<_> = requests.iter().map(|request| pictures(&server, request)).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let server = &server;
        let threads: Vec<_> =
            requests.iter().map(|request| scope.spawn(move || pictures(server, request))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(alone == together);

    let first = &requests[0];
    let mut batch = first.clone();
    batch["batch_size"] = json!(3);
    assert!(pictures(&server, &batch) == alone[0], "the first of a batch is the picture alone");
}
