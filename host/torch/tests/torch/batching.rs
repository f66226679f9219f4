//! Rows of different jobs in one UNet call give what each job gives alone.

use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{Call, Draw, Guidance, Sampler};
use gesso_engine::backend::{Backend, BackendError, Row};

use crate::support::{
    Archive, Drawing, agreement, backend, begin, demo_model, draw, model_file, request, step,
};

#[test]
fn jobs_that_share_calls_draw_what_they_draw_alone() {
    let model = model_file(&demo_model().join("demo-v3.safetensors"));
    let mut backend = backend();
    // Different prompts, seeds, samplers, step counts and guidance.
    let requests = [
        GenerateRequest {
            sampler: Sampler::Dpmpp2m,
            steps: 12,
            ..request("mountain landscape during sunset", 1, 128, 128)
        },
        GenerateRequest {
            sampler: Sampler::EulerA,
            steps: 8,
            cfg_scale: 7.5,
            ..request("a red circle", 2, 128, 128)
        },
        GenerateRequest { sampler: Sampler::Ddim, steps: 10, cfg_scale: 1.0, ..request("sea", 3, 128, 128) },
    ];
    let mut drawings = requests.each_ref().map(|request| Drawing::begin(&mut backend, &model, request));
    while step(&mut backend, &mut drawings.each_mut()) {}
    for (drawing, request) in drawings.into_iter().zip(&requests) {
        let together = backend.finish(drawing.sample, &|| false).unwrap();
        let alone = draw(&mut backend, &model, request);
        let agreement = agreement(&together.data, &alone.data);
        println!("{}: {:.3} %", request.sampler.label(), agreement * 100.0);
        assert!(agreement >= 0.999, "{}: {agreement}", request.prompt);
    }
}

#[test]
fn prompts_of_different_length_are_drawn_and_batched() {
    let (_folder, path) = Archive::tiny().write();
    let model = model_file(&path);
    let mut backend = backend();
    let long = "a cat, ".repeat(60);
    let requests = [1, 2].map(|seed| GenerateRequest { steps: 5, ..request(&long, seed, 64, 64) });
    let mut drawings = requests.each_ref().map(|request| Drawing::begin(&mut backend, &model, request));
    while step(&mut backend, &mut drawings.each_mut()) {}
    for (drawing, request) in drawings.into_iter().zip(&requests) {
        let together = backend.finish(drawing.sample, &|| false).unwrap();
        assert!(agreement(&together.data, &draw(&mut backend, &model, request).data) >= 0.999);
    }
}

#[test]
fn a_row_that_turns_into_nan_fails_alone() {
    let (_folder, path) = Archive::tiny().write();
    let model = model_file(&path);
    let mut backend = backend();
    let request = request("a cat", 1, 64, 64);
    let mut from = |scale| begin(&mut backend, &model, &request, vec![1.0; 256], scale).unwrap().0;
    let (mut good, mut bad) = (from(1.0), from(f64::NAN));
    let call = Call {
        before: Vec::new(),
        sigma: 1.0,
        timestep: 500.0,
        c_in: 1.0,
        c_skip: 1.0,
        c_out: -1.0,
        guidance: Guidance::default(),
        after: Vec::new(),
        draw: Draw::None,
        measure: None,
        step: 6,
    };
    let mut rows = [
        Row {
            sample: &mut bad,
            call: &call,
            calls_before: 0,
            blend_before: false,
            noise: None,
            picture: 0,
            seed: 0,
            is_second: false,
            hooks: &[],
        },
        Row {
            sample: &mut good,
            call: &call,
            calls_before: 0,
            blend_before: false,
            noise: None,
            picture: 0,
            seed: 0,
            is_second: false,
            hooks: &[],
        },
    ];
    let results = backend.step(&mut rows).unwrap();
    assert_eq!(results, [Err(BackendError::NotANumber { step: 6 }), Ok(None)]);
    assert!(backend.finish(good, &|| false).is_ok());
    assert_eq!(backend.finish(bad, &|| false), Err(BackendError::NotANumber { step: 6 }));
}

#[test]
fn requests_that_do_not_fit_the_model_are_refused_with_the_reason() {
    let (_folder, path) = Archive::tiny().write();
    let model = model_file(&path);
    let mut backend = backend();
    let plain = request("a cat", 1, 64, 64);
    for (request, word) in [
        (GenerateRequest { clip_skip: 12, ..plain.clone() }, "CLIP_stop_at_last_layers is 12"),
        (GenerateRequest { width: 60, ..plain.clone() }, "multiples of 8"),
        (GenerateRequest { prompt: "x".repeat(10 << 20), ..plain.clone() }, "longer than"),
    ] {
        let error = begin(&mut backend, &model, &request, vec![0.0; 256], 1.0).err().unwrap();
        let is_refused = matches!(error, BackendError::Request(_) | BackendError::Field { .. });
        assert!(is_refused && error.to_string().contains(word), "{error}");
    }
    assert!(begin(&mut backend, &model, &plain, vec![0.0; 255], 1.0).is_err());
}
