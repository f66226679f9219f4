//! Saved styles: the file in the data folder, its list, and what requests make of it.

use serde_json::{Value, json};

use super::drawing::{draw, striped};
use crate::support::Bench;

const STYLES: &str = "name,prompt,negative_prompt\r\nInk,\"ink, \"\"fine\"\" lines\",colour\r\n\
                      Photo,\"photo of {prompt}, sharp\",\r\nBare\r\n";

#[test]
fn styles_are_listed_and_laid_into_the_prompts() {
    let bench = Bench::new();
    let server = bench.start();
    assert_eq!(server.get("/sdapi/v1/prompt-styles").ok(), json!([]));
    std::fs::write(bench.data.path().join("styles.csv"), STYLES).unwrap();
    assert_eq!(
        server.get("/sdapi/v1/prompt-styles").ok(),
        json!([
            {"name": "Ink", "prompt": "ink, \"fine\" lines", "negative_prompt": "colour"},
            {"name": "Photo", "prompt": "photo of {prompt}, sharp", "negative_prompt": ""},
            {"name": "Bare", "prompt": null, "negative_prompt": null},
        ])
    );
    let asked = json!({"prompt": "a sea", "negative_prompt": "noon", "styles": ["Ink", "Photo", "Bare"]});
    let whole =
        json!({"prompt": "photo of a sea, ink, \"fine\" lines, sharp", "negative_prompt": "noon, colour"});
    for (route, more) in [
        ("txt2img", json!({})),
        ("img2img", json!({"init_images": [striped(64, 64)], "denoising_strength": 0.8})),
    ] {
        let with = |body: &Value| {
            let mut body = body.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let (plain, _) = draw(&server, route, with(&whole));
        let (styled, reply) = draw(&server, route, with(&asked));
        assert!(styled.data == plain.data, "{route}: {}", styled.infotext);
        assert_eq!(styled.infotext, plain.infotext);
        // The echo shows what was sent; the document what was drawn.
        for field in ["prompt", "negative_prompt", "styles"] {
            assert_eq!(reply["parameters"][field], asked[field], "{route}");
        }
        assert!(reply["parameters"].get("styling").is_none() && reply.get("warnings").is_none(), "{reply}");
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&info["prompt"], &info["all_negative_prompts"][0]),
            (&whole["prompt"], &whole["negative_prompt"])
        );
        assert_eq!(info["styles"], asked["styles"]);
    }
}

#[test]
fn a_second_passs_own_prompt_has_the_styles_too() {
    let bench = Bench::new();
    std::fs::write(bench.data.path().join("styles.csv"), STYLES).unwrap();
    let server = bench.start();
    let body = json!({"prompt": "a sea", "styles": ["Photo"], "enable_hr": true, "denoising_strength": 0.5,
                      "hr_scale": 1.5, "hr_prompt": "a desert"});
    let (picture, reply) = draw(&server, "txt2img", body);
    assert!(picture.infotext.contains("Hires prompt: \"photo of a desert, sharp\""), "{}", picture.infotext);
    assert_eq!(reply["parameters"]["hr_prompt"], "a desert");
}

#[test]
fn a_style_that_is_not_there_and_a_damaged_file_are_told_and_draw_on() {
    let bench = Bench::new();
    std::fs::write(bench.data.path().join("styles.csv"), "name,prompt\nInk,ink\nOpen,\"never closed\n")
        .unwrap();
    let server = bench.start();
    assert_eq!(server.get("/sdapi/v1/prompt-styles").ok().as_array().unwrap().len(), 1);
    let (picture, reply) = draw(&server, "txt2img", json!({"prompt": "a sea", "styles": ["Ink", "Gone"]}));
    assert!(picture.infotext.starts_with("a sea, ink\n"), "{}", picture.infotext);
    let warnings = reply["warnings"].to_string();
    assert!(warnings.contains("Style not found: \\\"Gone\\\"") && warnings.contains("line 3"), "{warnings}");
    // Another file that is none: said, and the server goes on.
    std::fs::write(bench.data.path().join("styles.csv"), b"\xff\xfe\0\0").unwrap();
    let (_, reply) = draw(&server, "txt2img", json!({"styles": ["Ink"]}));
    assert!(reply["warnings"].to_string().contains("UTF-8"), "{reply}");
}
