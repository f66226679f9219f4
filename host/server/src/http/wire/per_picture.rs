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
    // Not checked yet: sizes may be of any length.
    let count = u64::from(request.batch_size) * u64::from(request.n_iter);
    if entries.is_empty() {
        return;
    }
    if entries.len() as u64 != count {
        let text = format!("has {} entries for {count} pictures (batch_size times n_iter)", entries.len());
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

/// A body for each picture, where pictures have something of their own; none where they share everything.
pub(crate) fn bodies(body: &Map<String, Value>, request: &GenerateRequest) -> Vec<Map<String, Value>> {
    let batch = request.batch_size.max(1) as usize;
    let alone = |(place, entry): (usize, &Value)| {
        let mut alone = body.clone();
        let (seed, subseed) = request.seeds_of(place as u32);
        alone.insert("seed".into(), seed.into());
        alone.insert("subseed".into(), subseed.into());
        for (name, value) in entry.as_object().into_iter().flatten() {
            alone.insert(name.clone(), value.clone());
        }
        for name in ["batch_size", "n_iter"] {
            alone.insert(name.into(), 1.into());
        }
        alone.insert(FIELD.into(), Value::Array(Vec::new()));
        if let Some(Value::Array(sources)) = alone.get_mut("init_images")
            && sources.len() > 1
        {
            let own = sources.swap_remove(place % batch % sources.len());
            *sources = vec![own];
        }
        alone
    };
    entries(body).iter().enumerate().map(alone).collect()
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
        for (count, entries, says) in [
            (2, json!([{}]), "has 1 entries for 2 pictures"),
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
        let bodies = bodies(body.as_object().unwrap(), &request);
        let of = |name: &str| bodies.iter().map(|body| body[name].clone()).collect::<Vec<_>>();
        assert_eq!(of("prompt"), ["all", "b", "all", "d"]);
        assert_eq!(of("seed"), [7, 8, 9, 10]);
        assert_eq!(of("init_images"), [json!(["x"]), json!(["y"]), json!(["x"]), json!(["y"])]);
        assert!(bodies.iter().all(|body| body["batch_size"] == 1 && body[FIELD] == json!([])));
        let shared = json!({"prompt": "all"});
        assert!(super::bodies(shared.as_object().unwrap(), &request).is_empty());
    }
}
