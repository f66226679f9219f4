//! The field `per_picture`: what each picture of a request has of its own, and the request as one for each picture.

use gesso_core::limits::Limits;
use gesso_core::request::GenerateRequest;
use serde_json::{Map, Value};

use super::problems::Problems;

pub(crate) const FIELD: &str = "per_picture";

/// What a picture may have of its own, and whether it is a text.
const OWN: [(&str, bool); 6] = [
    ("prompt", true),
    ("negative_prompt", true),
    ("hr_prompt", true),
    ("hr_negative_prompt", true),
    ("seed", false),
    ("subseed", false),
];

fn entries(body: &Map<String, Value>) -> &[Value] {
    body.get(FIELD).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn check(
    body: &Map<String, Value>,
    request: &GenerateRequest,
    limits: &Limits,
    problems: &mut Problems,
) {
    let entries = entries(body);
    if entries.is_empty() {
        return;
    }
    // Not checked yet: sizes may be of any length. The last batch may be a part of one.
    let (batch, batches) = (u64::from(request.batch_size), u64::from(request.n_iter));
    let fits = (batch * batches.saturating_sub(1) + 1..=batch * batches).contains(&(entries.len() as u64));
    if !fits {
        let (count, all) = (entries.len(), batch * batches);
        let text = format!("has {count} entries for {all} pictures (batch_size times n_iter)");
        problems.add(FIELD, format!("{FIELD} {text}; give one for each, or none"));
        return;
    }
    for (place, entry) in entries.iter().enumerate() {
        let Some(entry) = entry.as_object() else {
            problems
                .add(FIELD, format!("{FIELD}[{place}] must be an object such as {{\"prompt\": \"a boat\"}}"));
            continue;
        };
        for (name, value) in entry {
            let problem = match OWN.iter().find(|(own, _)| own == name) {
                None => Some(format!("is not among {}", OWN.map(|(own, _)| own).join(", "))),
                Some((_, true)) => match value.as_str().map(str::len) {
                    Some(length) if length <= limits.max_prompt_bytes => None,
                    Some(length) => {
                        Some(format!("is {length} bytes long; {} are the most", limits.max_prompt_bytes))
                    }
                    None => Some("must be a string".to_owned()),
                },
                Some((_, false)) if value.as_u64().is_some_and(|seed| seed <= i64::MAX as u64) => None,
                Some((_, false)) => Some("must be a whole number of at least 0".to_owned()),
            };
            if let Some(problem) = problem {
                problems.add(FIELD, format!("{FIELD}[{place}].{name:.50} {problem}"));
            }
        }
    }
}

/// An echo has the fields that web UIs have, and this one where it was used.
pub(crate) fn tidy(echo: &mut Map<String, Value>) {
    if entries(echo).is_empty() {
        echo.remove(FIELD);
    }
}

/// How many pictures have something of their own; 0 where they share everything.
pub(crate) fn count(body: &Map<String, Value>) -> u32 {
    u32::try_from(entries(body).len()).unwrap_or(u32::MAX)
}

/// The body of one picture.
pub(crate) fn alone(body: &Map<String, Value>, request: &GenerateRequest, place: u32) -> Map<String, Value> {
    let sources = body.get("init_images").and_then(Value::as_array);
    let own = sources.filter(|sources| !sources.is_empty()).map(|sources| {
        let of_batch = place % request.batch_size.max(1);
        vec![sources[of_batch as usize % sources.len()].clone()]
    });
    let shared = body.iter().filter(|(name, _)| !["init_images", FIELD].contains(&name.as_str()));
    let mut alone: Map<String, Value> = shared.map(|(name, value)| (name.clone(), value.clone())).collect();
    alone.extend(own.map(|own| ("init_images".to_owned(), own.into())));
    let (seed, subseed) = request.seeds_of(place);
    for (name, value) in [("seed", seed), ("subseed", subseed), ("batch_size", 1), ("n_iter", 1)] {
        alone.insert(name.into(), value.into());
    }
    let entry = entries(body).get(place as usize).and_then(Value::as_object);
    alone.extend(entry.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    alone
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(count: u32, entries: Value) -> Result<(), String> {
        let body = json!({FIELD: entries});
        let mut problems = Problems::default();
        let request = GenerateRequest { batch_size: count, n_iter: 1, ..GenerateRequest::default() };
        check(body.as_object().unwrap(), &request, &Limits::default(), &mut problems);
        problems.into_result(()).map_err(|problems| problems[0].message.clone())
    }

    #[test]
    fn entries_are_as_many_as_pictures_and_hold_what_a_picture_can_have() {
        assert_eq!(checked(2, json!([{"prompt": "a"}, {"seed": 3, "negative_prompt": ""}])), Ok(()));
        assert_eq!(checked(2, json!([])), Ok(()));
        let batches = GenerateRequest { batch_size: 4, n_iter: 2, ..GenerateRequest::default() };
        for (count, fits) in [(4, false), (5, true), (8, true), (9, false)] {
            let body = json!({FIELD: vec![json!({}); count]});
            let mut problems = Problems::default();
            check(body.as_object().unwrap(), &batches, &Limits::default(), &mut problems);
            assert_eq!(problems.into_result(()).is_ok(), fits, "{count}");
        }
        for (count, entries, says) in [
            (2, json!([{}, {}, {}]), "has 3 entries for 2 pictures"),
            (1, json!(["a boat"]), "per_picture[0] must be an object"),
            (1, json!([{"steps": 3}]), "per_picture[0].steps is not among prompt, "),
            (1, json!([{"prompt": 3}]), "per_picture[0].prompt must be a string"),
            (1, json!([{"seed": -1}]), "per_picture[0].seed must be a whole number"),
            (1, json!([{"prompt": "x".repeat(20_000)}]), "is 20000 bytes long; 16384 are the most"),
        ] {
            let error = checked(count, entries).unwrap_err();
            assert!(error.contains(says), "{error} should say {says}");
        }
    }

    #[test]
    fn each_picture_is_a_request_with_the_seed_it_would_have_had() {
        let body = json!({"prompt": "all", "seed": 7, "subseed": 1, "batch_size": 2, "n_iter": 2, "init_images": ["x", "y"],
            FIELD: [{}, {"prompt": "b"}, {"seed": 9}, {"subseed": 4, "prompt": "d"}]});
        let request = GenerateRequest { seed: 7, batch_size: 2, n_iter: 2, ..GenerateRequest::default() };
        let body = body.as_object().unwrap();
        assert_eq!(count(body), 4);
        let bodies: Vec<_> = (0..4).map(|place| alone(body, &request, place)).collect();
        let of = |name: &str| bodies.iter().map(|body| body[name].clone()).collect::<Vec<_>>();
        assert_eq!(of("prompt"), ["all", "b", "all", "d"]);
        assert_eq!(of("seed"), [7, 8, 9, 10]);
        assert_eq!(of("init_images"), [json!(["x"]), json!(["y"]), json!(["x"]), json!(["y"])]);
        assert!(bodies.iter().all(|body| body["batch_size"] == 1 && !body.contains_key(FIELD)));
        assert_eq!(count(json!({"prompt": "all"}).as_object().unwrap()), 0);
    }
}
