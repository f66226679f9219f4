//! Hostile: looks for what other plugins keep, then writes names and values without measure, and fills what it was granted.
//! Says in the prompt what came of it.

use gesso_plugin::serde_json::json;
use gesso_plugin::{Fault, Params, RequestHook, Verdict, blobs, kv};

const OWN: &str = "flood-";
/// More than any grant of the tests has room for.
const TRIES: usize = 4000;

struct StoreFlood;

impl RequestHook for StoreFlood {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let others = kv::list_keys("", None)?.into_iter().chain(blobs::list("", None)?);
        let others = others.filter(|name| !name.starts_with(OWN)).count();
        let sneaky = ["../example-shelf/a.txt", "example-shelf\0a.txt"];
        let found =
            sneaky.iter().filter(|name| blobs::read(name, 0, 1).is_ok() || kv::exists(name) == Ok(true));
        let found = found.count();
        let told = json!({
            "others": others + found,
            "long_key": said(kv::set(&"k".repeat(1 << 20), b"x")),
            "empty_key": said(kv::set("", b"x")),
            "long_value": said(kv::set("flood-long", &vec![0; 1 << 20])),
            "long_prefix": said(kv::list_keys(&"p".repeat(1 << 20), None)),
            "giant_blob": said(blobs::put("flood-giant", &vec![0; 17 << 20])),
            "values": fill(|name| kv::set(name, &[0; 4096])),
            "blobs": fill(|name| blobs::put(name, &vec![0; 256 << 10])),
        });
        params.set_prompt(told.to_string());
        Ok(Verdict::Continue)
    }
}

/// How the first write ended that was refused.
fn fill(mut put: impl FnMut(&str) -> Result<(), Fault>) -> String {
    let refused = (0..TRIES).find_map(|number| put(&format!("{OWN}{number}")).err());
    said(refused.map_or(Ok(()), Err))
}

fn said<T>(result: Result<T, Fault>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(Fault::InvalidInput(text)) => format!("invalid: {text}"),
        Err(Fault::LimitExceeded(text)) => format!("limit: {text}"),
        Err(other) => format!("other: {other}"),
    }
}

gesso_plugin::request_hook!(StoreFlood, manifest = "manifest.json");
