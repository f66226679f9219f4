//! What becomes of a request as a whole.

use std::collections::BTreeSet;

use gesso_plugin::fake::Host;
use gesso_plugin::serde_json::json;

use super::*;

fn drawn(request: Value, arguments: Arguments) -> Params {
    let mut params = Params::from_json(&request.to_string()).unwrap();
    let mut wildcards = Wildcards::new(|| Ok(Vec::new()), |_: &str| Ok(Vec::new()));
    let drawing = Drawing { arguments: &arguments, seed: 5 };
    drawing.draw(&mut params, &mut wildcards).unwrap();
    params
}

fn own(params: &Params, field: &str) -> Vec<Value> {
    let pictures = params.get(PER_PICTURE).and_then(Value::as_array).cloned().unwrap_or_default();
    pictures.iter().map(|picture| picture[field].clone()).collect()
}

#[test]
fn each_picture_of_a_request_is_drawn_for_itself_and_the_first_as_if_it_were_alone() {
    let request = |count: u64| json!({"prompt": "a {b|c|d|e|f|g} boat", "negative_prompt": "plain", "batch_size": 2, "n_iter": count});
    let several = drawn(request(4), Arguments::default());
    let prompts = own(&several, "prompt");
    assert_eq!(prompts.len(), 8);
    assert!(prompts.iter().any(|prompt| *prompt != prompts[0]));
    assert_eq!(several.prompt(), prompts[0].as_str().unwrap());
    let alone = drawn(json!({"prompt": "a {b|c|d|e|f|g} boat"}), Arguments::default());
    assert_eq!((alone.prompt(), alone.get(PER_PICTURE)), (several.prompt(), None));
    let plain = json!({"prompt": "a boat", "batch_size": 3});
    assert_eq!(drawn(plain.clone(), Arguments::default()), Params::from_json(&plain.to_string()).unwrap());
}

#[test]
fn prompts_of_what_is_found_are_drawn_too() {
    let asked = |seed: u64| {
        let detail =
            json!({"ad_model": "face", "ad_prompt": "{a|b|c|d|e|f|g|h}", "ad_negative_prompt": "plain"});
        let mut params = Params::from_json(
            &json!({"prompt": "a boat", "alwayson_scripts": {"ADetailer": {"args": [true, detail, detail]}}})
                .to_string(),
        )
        .unwrap();
        let mut wildcards = Wildcards::new(|| Ok(Vec::new()), |_: &str| Ok(Vec::new()));
        Drawing { arguments: &Arguments::default(), seed }.draw(&mut params, &mut wildcards).unwrap();
        let args = params.get("alwayson_scripts").unwrap()["ADetailer"]["args"].clone();
        assert_eq!((&args[0], &args[1]["ad_negative_prompt"]), (&json!(true), &json!("plain")));
        [1, 2].map(|place| args[place]["ad_prompt"].as_str().unwrap().to_owned())
    };
    assert_eq!(asked(5), asked(5));
    let drawn: BTreeSet<String> = (0..8).flat_map(asked).collect();
    assert!(drawn.len() > 4 && drawn.iter().all(|letter| letter.len() == 1), "{drawn:?}");
}

#[test]
fn all_combinations_become_pictures() {
    let request = json!({"prompt": "{a|b} {1|2}", "negative_prompt": "{x|y}", "batch_size": 4, "n_iter": 1});
    let arguments = Arguments { combinatorial: true, combinatorial_batches: 2, ..Arguments::default() };
    let all = drawn(request.clone(), arguments.clone());
    assert_eq!(own(&all, "prompt"), ["a 1", "a 2", "b 1", "b 2", "a 1", "a 2", "b 1", "b 2"]);
    assert_eq!(own(&all, "negative_prompt")[..4], ["x", "y", "x", "y"]);
    assert_eq!((all.get("batch_size"), all.get("n_iter")), (Some(&json!(4)), Some(&json!(2))));
    let few = drawn(request, Arguments { max_generations: 3, combinatorial_batches: 1, ..arguments });
    assert_eq!(own(&few, "prompt"), ["a 1", "a 2", "b 1"]);
    assert_eq!(few.get("n_iter"), Some(&json!(1)));
    let one = Arguments { combinatorial: true, max_generations: 1, ..Arguments::default() };
    let one = drawn(json!({"prompt": "{a|b}", "batch_size": 4}), one);
    assert_eq!((own(&one, "prompt"), one.get("n_iter")), (vec![json!("a")], Some(&json!(1))));
    // A prompt without anything to combine is drawn as often as was asked for.
    let plain = json!({"prompt": "a boat", "n_iter": 4});
    let combinatorial = Arguments { combinatorial: true, ..Arguments::default() };
    assert_eq!(drawn(plain.clone(), combinatorial), Params::from_json(&plain.to_string()).unwrap());
}

#[test]
fn more_text_than_goes_back_is_the_clients_business() {
    let long = format!("{{a|b}} {}", "x".repeat(15_000));
    let request = json!({"prompt": long, "batch_size": 16});
    // Of what is found in one picture.
    let details = vec![json!({"ad_model": "face", "ad_prompt": long}); 11];
    let detailed = json!({"prompt": "a boat", "alwayson_scripts": {"ADetailer": {"args": details}}});
    for (request, arguments) in [
        (&request, Arguments::default()),
        (&request, Arguments { combinatorial: true, combinatorial_batches: 16, ..Arguments::default() }),
        (&request, Arguments { attention_grabber: true, ..Arguments::default() }),
        (&detailed, Arguments::default()),
    ] {
        let mut params = Params::from_json(&request.to_string()).unwrap();
        let mut wildcards = Wildcards::new(|| Ok(Vec::new()), |_: &str| Ok(Vec::new()));
        let drawing = Drawing { arguments: &arguments, seed: 5 };
        let Err(Fault::InvalidInput(text)) = drawing.draw(&mut params, &mut wildcards) else {
            panic!("so much is taken")
        };
        assert!(text.contains("too much text"), "{text}");
    }
}

#[test]
fn a_fixed_seed_is_that_of_every_picture() {
    let request = json!({"prompt": "a boat", "batch_size": 3, "seed": 7, "subseed": 8});
    let fixed = drawn(request, Arguments { fixed_seed: true, ..Arguments::default() });
    assert_eq!((own(&fixed, "seed"), own(&fixed, "subseed")), (vec![json!(7); 3], vec![json!(8); 3]));
}

#[test]
fn what_a_client_says_of_its_pictures_stands() {
    let own = json!([{"prompt": "x"}, {"prompt": "y"}]);
    let request = json!({"prompt": "{a|b}", "batch_size": 2, "per_picture": own});
    let drawn = drawn(request, Arguments { combinatorial: true, ..Arguments::default() });
    assert_eq!(drawn.get(PER_PICTURE), Some(&own));
    assert!(["a", "b"].contains(&drawn.prompt()));
}

/// The request as the hook leaves it.
fn hooked(host: &Host, request: &Value) -> Result<Params, Fault> {
    let mut params = Params::from_json(&request.to_string())?;
    let verdict = host.run(|| DynamicPrompts::before(&mut params))?;
    assert_eq!(verdict, Verdict::Continue);
    Ok(params)
}

#[test]
fn a_whole_hook_draws_lines_of_the_granted_folder_by_the_requests_seed() {
    let host = |seed: u64| Host::new().seed(seed).file("wildcards", "colours.txt", "red\n# none\n\nblue\n");
    let request = json!({"prompt": "a __colours__ boat", "negative_prompt": "fog", "steps": 4});
    let drawn = |seed: u64| hooked(&host(seed), &request).unwrap();
    let prompts: BTreeSet<_> = (0..16).map(|seed| drawn(seed).prompt().to_owned()).collect();
    assert_eq!(prompts, BTreeSet::from(["a blue boat", "a red boat"].map(str::to_owned)));
    let (params, again) = (drawn(3), drawn(3));
    assert_eq!((&params, params.negative_prompt(), params.get("steps")), (&again, "fog", Some(&json!(4))));
    // Those who name a wildcard that there is not hear of the nearest.
    let unknown = hooked(&host(3), &json!({"prompt": "a __colors__ boat"}));
    assert!(matches!(&unknown, Err(Fault::InvalidInput(text)) if text.contains("colours")), "{unknown:?}");
}

#[test]
fn a_request_switches_the_hook_off_or_its_seed_loose_under_the_extensions_name() {
    let request = |args: Value| json!({"prompt": "{a|b|c|d|e|f|g|h}", "alwayson_scripts": {"Dynamic Prompts v2.17.1": {"args": args}}});
    let off = hooked(&Host::new(), &request(json!([false]))).unwrap();
    assert_eq!(off.prompt(), "{a|b|c|d|e|f|g|h}");
    let of_ids = |args: Value| -> BTreeSet<String> {
        let drawn = |id: u32| hooked(&Host::new().seed(7).request_id(id.to_string()), &request(args.clone()));
        (0..16).map(|id| drawn(id).unwrap().prompt().to_owned()).collect()
    };
    assert_eq!(of_ids(json!({"unlink_seed": false})).len(), 1);
    assert!(of_ids(json!({"unlink_seed": true})).len() > 1);
    let refused = hooked(&Host::new(), &request(json!({"enabled": "perhaps"})));
    assert!(matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains("perhaps")), "{refused:?}");
}

#[test]
fn the_number_of_a_request_stays_the_same_for_good() {
    let numbers = ["", "a", "foobar"].map(seed_of);
    assert_eq!(numbers, [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]);
}
