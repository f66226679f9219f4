//! What only text-to-image has on the wire: the second pass ("hires fix").

use gesso_core::hires::{Hires, HiresSize, HiresUpscaler, LatentUpscaler, old_first_pass};
use gesso_core::limits::Problem;
use serde_json::{Map, Value};

use super::fields::{Field, Kind, field};
use super::generate::{FIRST_PASS_PICTURE, sampler, scheduler};
use super::problems::{Problems, flag, non_empty, number};

pub(super) const DENOISING: &[Field] =
    &[field("denoising_strength", Kind::OptionalFloat, "0..1, how much the second pass draws anew.")];

pub(super) const FIELDS: &[Field] = &[
    field("enable_hr", Kind::Boolean(false), "Draw a second pass at a larger size."),
    field("firstphase_width", Kind::Integer(0), "With enable_hr, the first pass's width, in place of width."),
    field(
        "firstphase_height",
        Kind::Integer(0),
        "With enable_hr, the first pass's height, in place of height.",
    ),
    field("hr_scale", Kind::Float(2.0), "Times the first pass's size, when no side is given."),
    field(
        "hr_upscaler",
        Kind::OptionalText,
        "See GET /sdapi/v1/latent-upscale-modes and /sdapi/v1/upscalers.",
    ),
    field("hr_second_pass_steps", Kind::Integer(0), "Steps of the second pass; 0 is as many as the first."),
    field("hr_resize_x", Kind::Integer(0), "Width of the second pass; 0 follows the other side."),
    field("hr_resize_y", Kind::Integer(0), "Height of the second pass; 0 follows the other side."),
    field("hr_checkpoint_name", Kind::OptionalText, "Another checkpoint for the second pass."),
    field("hr_sampler_name", Kind::OptionalText, "Another sampler for the second pass."),
    field("hr_scheduler", Kind::OptionalText, "Another scheduler for the second pass."),
    field("hr_prompt", Kind::Text(""), "Another prompt for the second pass."),
    field("hr_negative_prompt", Kind::Text(""), "Another negative prompt for the second pass."),
];

/// The size of the first pass, where the old fields or the old option give it one of its own. The second pass's follows from
/// the fields', as in web UIs. `are_sides_seconds` is that option: `width` and `height` are the second pass's, as before web
/// UIs had a scale.
pub(super) fn first_pass(
    body: &Map<String, Value>,
    are_sides_seconds: bool,
    problems: &mut Problems,
) -> Option<(u32, u32)> {
    if !flag(body, "enable_hr") {
        return None;
    }
    let [width, height] = ["firstphase_width", "firstphase_height"].map(|name| problems.count(body, name));
    match (width, height) {
        (0, 0) => are_sides_seconds
            .then(|| old_first_pass(problems.count(body, "width"), problems.count(body, "height"))),
        (0, _) | (_, 0) => {
            let name = if width == 0 { "firstphase_width" } else { "firstphase_height" };
            problems.add(
                name,
                format!("{name} is missing beside the other side; give both, or width and height"),
            );
            None
        }
        size => Some(size),
    }
}

/// A problem of a pass's size under the field that said it; `are_sides_seconds` is that of [`first_pass`].
pub(super) fn as_asked(
    body: &Map<String, Value>,
    are_sides_seconds: bool,
    problem: Problem,
) -> (&'static str, String) {
    let Problem { field, message } = problem;
    if !flag(body, "enable_hr") {
        return (field, message);
    }
    let is_given = |name: &str| body.get(name).is_some_and(|side| *side != 0);
    let is_old = is_given("firstphase_width") && is_given("firstphase_height");
    let said = match field {
        "width" if is_old => "firstphase_width",
        "height" if is_old => "firstphase_height",
        "hr_resize_x" if are_sides_seconds => "width",
        "hr_resize_y" if are_sides_seconds => "height",
        _ => return (field, message),
    };
    let message = match message.strip_prefix(field) {
        Some(rest) => format!("{said}{rest}"),
        None => message,
    };
    (said, message)
}

/// The second pass, when one is asked for; `are_sides_seconds` is that of [`first_pass`].
pub(super) fn hires(
    body: &Map<String, Value>,
    are_sides_seconds: bool,
    problems: &mut Problems,
) -> Option<Hires> {
    if !flag(body, "enable_hr") {
        return None;
    }
    let denoising_strength = number(body, "denoising_strength").unwrap_or_else(|| {
        problems
            .add("denoising_strength", "denoising_strength is needed with enable_hr; send 0.7, say".into());
        0.0
    });
    let size = if are_sides_seconds {
        HiresSize::Resize { width: problems.count(body, "width"), height: problems.count(body, "height") }
    } else {
        match (problems.count(body, "hr_resize_x"), problems.count(body, "hr_resize_y")) {
            (0, 0) => HiresSize::Scale(problems.range(
                "hr_scale",
                number(body, "hr_scale").unwrap_or(2.0),
                1.0,
                8.0,
            )),
            (width, height) => HiresSize::Resize { width, height },
        }
    };
    let upscaler = match non_empty(body, "hr_upscaler") {
        None => HiresUpscaler::Latent(LatentUpscaler::Bilinear),
        Some(name) => LatentUpscaler::parse(name)
            .map_or_else(|| HiresUpscaler::Pixels(name.to_owned()), HiresUpscaler::Latent),
    };
    let other = |name: &str, same: &str| {
        non_empty(body, name).filter(|text| !text.eq_ignore_ascii_case(same)).map(str::to_owned)
    };
    let named_sampler = other("hr_sampler_name", "Use same sampler")
        .and_then(|name| sampler("hr_sampler_name", &name, problems));
    let named_scheduler = other("hr_scheduler", "Use same scheduler")
        .and_then(|name| scheduler("hr_scheduler", &name, problems));
    Some(Hires {
        size,
        upscaler,
        denoising_strength,
        steps: Some(problems.count(body, "hr_second_pass_steps")).filter(|steps| *steps > 0),
        sampler: named_sampler.map(|(sampler, _)| sampler),
        scheduler: named_scheduler.or(named_sampler.and_then(|(_, scheduler)| scheduler)),
        prompt: non_empty(body, "hr_prompt").map(str::to_owned),
        negative_prompt: non_empty(body, "hr_negative_prompt").map(str::to_owned),
        model: other("hr_checkpoint_name", "Use same checkpoint"),
        from_picture: non_empty(body, FIRST_PASS_PICTURE).is_some(),
    })
}

#[cfg(test)]
mod tests {
    use gesso_core::limits::Limits;
    use gesso_core::sampler::Sampler;
    use gesso_core::schedule::Scheduler;
    use serde_json::json;

    use super::super::generate::{Defaults, Drawing, to_request};
    use super::*;

    fn second(body: Value) -> Result<Option<Hires>, Vec<String>> {
        let body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 1).unwrap();
        to_request(Drawing::Txt2Img, &body, &Defaults::default(), &Limits::default())
            .map(|request| request.hires)
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn a_second_pass_takes_what_it_is_not_told_from_the_first() {
        let hires = second(json!({"enable_hr": true, "denoising_strength": 0.7, "hr_scale": "1.5"}))
            .unwrap()
            .unwrap();
        assert_eq!(hires.size, HiresSize::Scale(1.5));
        assert_eq!(hires.upscaler, HiresUpscaler::Latent(LatentUpscaler::Bilinear));
        assert_eq!((hires.steps, hires.sampler, hires.prompt), (None, None, None));
    }

    #[test]
    fn a_second_pass_may_differ_in_everything() {
        let hires = second(json!({
            "enable_hr": true, "denoising_strength": 0.5, "hr_resize_x": 768, "hr_upscaler": "4x_foo",
            "hr_second_pass_steps": 7, "hr_sampler_name": "DPM++ 2M Karras", "hr_prompt": "b", "hr_checkpoint_name": "m",
        }));
        let hires = hires.unwrap().unwrap();
        assert_eq!(hires.size, HiresSize::Resize { width: 768, height: 0 });
        assert_eq!(hires.upscaler, HiresUpscaler::Pixels("4x_foo".into()));
        assert_eq!((hires.sampler, hires.scheduler), (Some(Sampler::Dpmpp2m), Some(Scheduler::Karras)));
        assert_eq!(
            (hires.steps, hires.prompt.as_deref(), hires.model.as_deref()),
            (Some(7), Some("b"), Some("m"))
        );
    }

    #[test]
    fn the_old_option_makes_the_sides_those_of_the_second_pass() {
        let sizes = |width: u32, height: u32| {
            let body = json!({"enable_hr": true, "denoising_strength": 0.5, "width": width, "height": height,
                "override_settings": {"use_old_hires_fix_width_height": true}});
            let body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 1).unwrap();
            let request =
                to_request(Drawing::Txt2Img, &body, &Defaults::default(), &Limits::default()).unwrap();
            ((request.width, request.height), request.hires.unwrap().size)
        };
        let resize = |width, height| HiresSize::Resize { width, height };
        assert_eq!(sizes(1024, 1024), ((512, 512), resize(1024, 1024)));
        assert_eq!(sizes(1024, 768), ((640, 448), resize(1024, 768)));
    }

    #[test]
    fn a_size_of_the_second_pass_that_does_not_fit_is_named_as_it_was_asked_for() {
        let said = |sides: Value| {
            let mut body = json!({"enable_hr": true, "denoising_strength": 0.5});
            body.as_object_mut().unwrap().extend(sides.as_object().unwrap().clone());
            let body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 1).unwrap();
            let read = to_request(Drawing::Txt2Img, &body, &Defaults::default(), &Limits::default());
            let problems = read.unwrap_err();
            problems.into_iter().map(|problem| (problem.field, problem.message)).collect::<Vec<_>>()
        };
        let told = |field: &str, size: &str| {
            let message =
                format!("{field} makes the second pass {size}; each side must be between 64 and 2048");
            vec![(field.to_owned(), message)]
        };
        assert_eq!(said(json!({"hr_resize_x": 512, "hr_resize_y": 8})), told("hr_resize_y", "512 x 8"));
        let old = json!({"use_old_hires_fix_width_height": true});
        let sides = json!({"width": 4096, "override_settings": old});
        assert_eq!(said(sides), told("width", "4096 x 512"));
        let sides = json!({"height": 4096, "firstphase_width": 64, "firstphase_height": 64, "override_settings": old});
        assert_eq!(said(sides), told("height", "512 x 4096"));
    }

    #[test]
    fn without_the_flag_its_fields_are_not_looked_at() {
        assert_eq!(second(json!({"hr_scale": 99, "hr_sampler_name": "nonsense"})).unwrap(), None);
    }

    #[test]
    fn a_picture_stands_in_for_the_first_pass_of_two_and_for_no_other() {
        let with = |more: Value| {
            let mut body = json!({"enable_hr": true, "denoising_strength": 0.5});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            second(body).map(|hires| hires.map(|hires| hires.from_picture))
        };
        assert_eq!(with(json!({"firstpass_image": "x"})), Ok(Some(true)));
        for none in [json!({}), json!({"firstpass_image": null}), json!({"firstpass_image": ""})] {
            assert_eq!(with(none), Ok(Some(false)));
        }
        let alone = json!({"firstpass_image": "x", "enable_hr": false});
        assert_eq!(with(alone).unwrap_err(), ["firstpass_image"]);
        let over = json!({"init_images": ["x"], "firstpass_image": "x", "enable_hr": true});
        let body = Drawing::Img2Img.read(over.as_object().unwrap(), || 1).unwrap();
        let problems =
            to_request(Drawing::Img2Img, &body, &Defaults::default(), &Limits::default()).unwrap_err();
        assert_eq!(problems[0].field, "firstpass_image");
        assert!(problems[0].message.contains("enable_hr"), "{}", problems[0].message);
    }

    #[test]
    fn a_second_pass_needs_a_strength_and_a_size_in_bounds() {
        assert_eq!(second(json!({"enable_hr": true})).unwrap_err(), ["denoising_strength"]);
        let huge = json!({"enable_hr": true, "denoising_strength": 0.5, "hr_resize_x": 100_000});
        assert_eq!(second(huge).unwrap_err(), ["hr_resize_x"]);
    }
}
