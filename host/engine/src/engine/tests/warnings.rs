//! What of a drawing has no effect is told while it is drawn.

use super::*;
use crate::job::LoraUse;

fn lora(name: &str) -> LoraUse {
    let file = model(name);
    LoraUse { file, text: 1.0, unet: 1.0, rank: None, blocks: None, start_step: 0, stop_step: None }
}

#[test]
fn what_has_no_effect_in_a_pass_is_told_once_it_is_open_and_once() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit_first(1, |drawing| {
        with_second_pass(drawing);
        drawing.resources.loras = vec![lora("a")];
        drawing.second.as_mut().unwrap().resources.loras = vec![lora("a"), lora("b")];
    });
    let progress = job.progress();
    assert_eq!(progress.borrow().warnings, ["a"]);
    bench.open();
    job.blocking_finish().unwrap();
    assert_eq!(progress.borrow().warnings, ["a", "b"]);
}
