//! What clients send and what is read of it, case by case in `tests/arguments.json`. The kits for Python and JavaScript go
//! through the same file, so that a plugin reads the same in every language.

use serde_json::{Value, json};

use crate::lax::tests::Asked;
use crate::{Arguments, Fault, Params};

fn cases(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../tests/arguments.json")).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn read(case: &Value) -> Result<Value, Fault> {
    let list = [case["value"].clone()];
    let (arguments, of) = (Arguments(&list), &case["of"]);
    match case["read"].as_str().unwrap() {
        "flag" => arguments.flag(0, "It").map(Value::from),
        "number" => {
            let bounds = (of[0].as_f64().unwrap(), of[1].as_f64().unwrap());
            arguments.number(0, "It", bounds).map(Value::from)
        }
        "text" => Ok(arguments.text(0).into()),
        "texts" => Ok(arguments.texts(0).into()),
        "choice" => {
            let choices: Vec<_> = of.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            arguments.choice(0, "It", &choices).map(Value::from)
        }
        other => panic!("{other} is no way to read"),
    }
}

#[test]
fn the_arguments_of_a_script_are_read_as_in_every_kit() {
    for case in cases("listed") {
        let wanted = match case["refused"].as_str() {
            Some(sentence) => Err(Fault::InvalidInput(sentence.to_owned())),
            None => Ok(case["gives"].clone()),
        };
        assert_eq!(read(&case), wanted, "{case}");
    }
}

#[test]
fn what_a_request_says_to_a_plugin_is_read_as_in_every_kit() {
    for case in cases("named") {
        let key = case["key"].as_str().unwrap();
        let params = json!({"alwayson_scripts": {key: {"args": case["args"]}}});
        let params = Params::from_json(&params.to_string()).unwrap();
        let read = params.arguments::<Asked>("Dynamic Prompts");
        if let Some(begins) = case["refused"].as_str() {
            let Err(Fault::InvalidInput(text)) = read else { panic!("{case} is accepted") };
            assert!(text.starts_with(begins), "{case}: {text}");
        } else {
            let wanted: Option<Asked> = serde_json::from_value(case["gives"].clone()).unwrap();
            assert_eq!(read, Ok(wanted), "{case}");
        }
    }
}
