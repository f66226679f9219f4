//! Asks the host for many drawings, a few at a time, so that they share the device's steps and none is refused for want of
//! room.

use std::collections::VecDeque;

use gesso_plugin::inference::{self, Drawn, Job};
use gesso_plugin::{Fault, Image, Params, ScriptCall};

/// Drawings under way at a time.
const AT_ONCE: usize = 8;

/// What each of `requests` comes to, in their order; the pictures of the call are drawn over in each.
pub(crate) fn draw_all(
    call: &ScriptCall,
    requests: impl IntoIterator<Item = Params>,
) -> Result<Vec<Drawn>, Fault> {
    let begin = |params: Params| inference::generate(&params, &call.init_images, call.mask.as_ref());
    in_turn(requests.into_iter().map(begin))
}

/// What drawings come to, in their order; each is begun when one of those before it is done.
pub(crate) fn in_turn(mut drawings: impl Iterator<Item = Result<Job, Fault>>) -> Result<Vec<Drawn>, Fault> {
    let mut under_way: VecDeque<Job> = VecDeque::new();
    let mut done = Vec::new();
    loop {
        while under_way.len() < AT_ONCE {
            let Some(job) = drawings.next() else { break };
            under_way.push_back(job?);
        }
        match under_way.pop_front() {
            Some(job) => done.push(job.finish()?),
            None => return Ok(done),
        }
    }
}

/// Pictures with their infotexts.
pub(crate) fn pictures(drawn: Drawn) -> impl Iterator<Item = (Image, String)> {
    drawn.images.into_iter().zip(drawn.infotexts)
}

/// The seed of a request, and others from it.
pub(crate) fn seed(params: &Params) -> u64 {
    params.get("seed").and_then(serde_json::Value::as_u64).unwrap_or_default()
}
