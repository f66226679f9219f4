//! What only image-to-image has on the wire: the pictures that are drawn over, the mask, and how both meet the size.

use gesso_core::img2img::{Fill, Img2Img, Mask, PictureOptions, ResizeMode};
use serde_json::{Map, Value};

use super::fields::{Field, Kind, field};
use super::overrides::{Overrides, refuse};
use super::problems::{Problems, flag, integer, non_empty, number};
use super::soft_inpainting;

pub(super) const DENOISING: &[Field] =
    &[field("denoising_strength", Kind::Float(0.75), "0..1, how much of the picture is drawn anew.")];

pub(super) const FIELDS: &[Field] = &[
    field(
        "init_images",
        Kind::OptionalTextList,
        "The pictures to draw over, base64 or data URI; one for all, or one for each of a batch.",
    ),
    field("resize_mode", Kind::Integer(0), "0 stretch, 1 crop, 2 fill, 3 stretch the latent."),
    field(
        "image_cfg_scale",
        Kind::OptionalFloat,
        "Guidance by the picture, edit checkpoints only; null, like 1, is none.",
    ),
    field("mask", Kind::OptionalText, "Base64 or data URI; white is repainted."),
    field("mask_blur_x", Kind::Integer(4), "Blur of the mask's edge, pixels."),
    field("mask_blur_y", Kind::Integer(4), "Blur of the mask's edge, pixels."),
    field("mask_blur", Kind::OptionalInteger, "Sets both blurs."),
    field("mask_round", Kind::Boolean(true), "Round the mask of the latent to kept or repainted."),
    field(
        "inpainting_fill",
        Kind::Integer(0),
        "Under the mask: 0 blurred surroundings, 1 the picture, 2 noise, 3 nothing.",
    ),
    field("inpaint_full_res", Kind::Boolean(true), "Draw only the masked part, at the whole size."),
    field("inpaint_full_res_padding", Kind::Integer(0), "Pixels around the masked part."),
    field("inpainting_mask_invert", Kind::Integer(0), "1 repaints what is black."),
    field(
        "initial_noise_multiplier",
        Kind::OptionalFloat,
        "Scales the noise at the start; null is the option's.",
    ),
    field("latent_mask", Kind::OptionalText, "Accepted for compatibility."),
    field("include_init_images", Kind::Boolean(false), "Echo init_images and mask in the reply."),
];

/// The settings; the pictures themselves are read where the task is drawn.
pub(super) fn settings(
    body: &Map<String, Value>,
    overrides: &Overrides<'_>,
    problems: &mut Problems,
) -> Img2Img {
    let count = body.get("init_images").and_then(Value::as_array).map_or(0, Vec::len);
    if count == 0 {
        problems
            .add("init_images", "Init image not found: init_images must hold at least one picture".into());
    } else if count > 1 && count as i64 > integer(body, "batch_size") {
        problems
            .add("init_images", format!("init_images holds {count} pictures; send one, or up to batch_size"));
    }
    let resize_mode = ResizeMode::from_number(integer(body, "resize_mode")).unwrap_or_else(|| {
        problems.add("resize_mode", "resize_mode must be 0, 1, 2 or 3".into());
        ResizeMode::Stretch
    });
    // Read of every request, so that a value that is none is refused where it is saved.
    let conditioning_weight = overrides.number("inpainting_mask_weight", problems).unwrap_or(1.0);
    if !(0.0..=1.0).contains(&conditioning_weight) {
        refuse(problems, "inpainting_mask_weight", "a number between 0 and 1");
    }
    Img2Img {
        denoising_strength: number(body, "denoising_strength").unwrap_or(0.75),
        exact_steps: overrides.flag("img2img_fix_steps", problems).unwrap_or(false),
        resize_mode,
        image_cfg_scale: number(body, "image_cfg_scale").unwrap_or(1.0),
        colour_correction: overrides.flag("img2img_color_correction", problems).unwrap_or(false),
        mask: non_empty(body, "mask").is_some().then(|| mask(body, conditioning_weight, problems)),
        pictures: pictures(overrides, problems),
    }
}

fn pictures(overrides: &Overrides<'_>, problems: &mut Problems) -> PictureOptions {
    let usual = PictureOptions::default();
    let upscaler = overrides.text("upscaler_for_img2img", problems);
    PictureOptions {
        background: overrides.colour("img2img_background_color", problems).unwrap_or(usual.background),
        upscaler: upscaler.filter(|name| !name.eq_ignore_ascii_case("None")).map(str::to_owned),
        overlay: overrides.flag("overlay_inpaint", problems).unwrap_or(usual.overlay),
        show_mask: overrides.flag("return_mask", problems).unwrap_or(usual.show_mask),
        show_masked_part: overrides.flag("return_mask_composite", problems).unwrap_or(usual.show_masked_part),
    }
}

/// Several pictures make the batch as large as they are many.
pub(super) fn batch_size(body: &Map<String, Value>, asked: u32) -> u32 {
    batch_of(body.get("init_images").and_then(Value::as_array).map_or(0, Vec::len), asked)
}

/// Pictures of one batch that is drawn over so many others: one for each of several.
pub(super) fn batch_of(sources: usize, asked: u32) -> u32 {
    match sources {
        0 | 1 => asked,
        count => asked.min(count as u32),
    }
}

fn mask(body: &Map<String, Value>, conditioning_weight: f64, problems: &mut Problems) -> Mask {
    let both =
        body.get("mask_blur").filter(|value| value.is_number()).map(|_| problems.count(body, "mask_blur"));
    let blur = both.map_or_else(
        || (problems.count(body, "mask_blur_x"), problems.count(body, "mask_blur_y")),
        |both| (both, both),
    );
    let fill = Fill::from_number(integer(body, "inpainting_fill")).unwrap_or_else(|| {
        problems.add("inpainting_fill", "inpainting_fill must be 0, 1, 2 or 3".into());
        Fill::Blur
    });
    let padding = problems.count(body, "inpaint_full_res_padding");
    let soft = soft_inpainting::read(body, problems);
    Mask {
        blur,
        invert: integer(body, "inpainting_mask_invert") != 0,
        fill,
        only_masked: flag(body, "inpaint_full_res").then_some(padding),
        round: flag(body, "mask_round") && soft.is_none(),
        soft,
        conditioning_weight,
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::infotext::{DrawnWith, Infotext};
    use gesso_core::limits::Limits;
    use serde_json::json;

    use super::super::generate::{Defaults, Drawing, to_request};
    use super::*;

    fn read(body: Value) -> Result<Img2Img, Vec<String>> {
        let body = Drawing::Img2Img.read(body.as_object().unwrap(), || 1).unwrap();
        to_request(Drawing::Img2Img, &body, &Defaults::default(), &Limits::default())
            .map(|request| request.img2img.unwrap())
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn without_a_mask_its_fields_are_not_looked_at() {
        let settings = read(json!({"init_images": ["x"], "inpainting_fill": 9})).unwrap();
        assert_eq!((settings.denoising_strength, settings.mask), (0.75, None));
    }

    #[test]
    fn a_picture_guides_where_a_scale_is_given() {
        let of = |scale: Value| read(json!({"init_images": ["x"], "image_cfg_scale": scale})).unwrap();
        assert_eq!(of(json!(null)), of(json!(1)));
        assert_eq!(read(json!({"init_images": ["x"]})).unwrap(), of(json!(1)));
        assert_eq!(of(json!("1.5")).image_cfg_scale, 1.5);
    }

    #[test]
    fn one_blur_sets_both_sides() {
        let of = |body: Value| read(body).unwrap().mask.unwrap();
        let mask = of(json!({"init_images": ["x"], "mask": "y", "mask_blur": "8", "mask_blur_x": 1}));
        assert_eq!((mask.blur, mask.only_masked), ((8, 8), Some(0)));
        let mask =
            of(json!({"init_images": ["x"], "mask": "y", "mask_blur_x": 1, "inpaint_full_res": false}));
        assert_eq!((mask.blur, mask.only_masked, mask.fill), ((1, 4), None, Fill::Blur));
    }

    #[test]
    fn a_soft_mask_is_not_rounded() {
        let of = |args: Value| {
            let scripts = json!({"soft inpainting": {"args": args}});
            let body = json!({"init_images": ["x"], "mask": "y", "alwayson_scripts": scripts});
            read(body).map(|settings| settings.mask.unwrap())
        };
        let (soft, hard) = (of(json!([true, 2])).unwrap(), of(json!([false, 2])).unwrap());
        assert_eq!((soft.round, soft.soft.map(|soft| soft.schedule_bias)), (false, Some(2.0)));
        assert_eq!((hard.round, hard.soft), (true, None));
        assert_eq!(of(json!([true, 9])).unwrap_err(), ["alwayson_scripts"]);
    }

    #[test]
    fn options_say_what_happens_to_the_pictures() {
        let of = |options: Value| {
            read(json!({"init_images": ["x"], "override_settings": options})).map(|read| read.pictures)
        };
        assert_eq!(of(json!({"upscaler_for_img2img": "none"})), Ok(PictureOptions::default()));
        let options = json!({"upscaler_for_img2img": "4x", "img2img_background_color": "#102030",
            "overlay_inpaint": false, "return_mask": true, "return_mask_composite": "true"});
        let all = PictureOptions {
            background: [16, 32, 48],
            upscaler: Some("4x".into()),
            overlay: false,
            show_mask: true,
            show_masked_part: true,
        };
        assert_eq!(of(options), Ok(all));
        for options in [json!({"img2img_background_color": "grey"}), json!({"return_mask": "some"})] {
            assert_eq!(of(options).unwrap_err(), ["override_settings"]);
        }
    }

    #[test]
    fn the_field_scales_the_noise_and_the_option_where_there_is_none() {
        let of = |more: Value| {
            let mut body = json!({"init_images": ["x"]}).as_object().unwrap().clone();
            body.extend(more.as_object().unwrap().clone());
            let body = Drawing::Img2Img.read(&body, || 1).unwrap();
            let request = to_request(Drawing::Img2Img, &body, &Defaults::default(), &Limits::default());
            request.map(|request| {
                let text = gesso_core::infotext::of(&request, 0, &DrawnWith::default());
                let said = Infotext::parse(&text).get("Noise multiplier").map(str::to_owned);
                (request.options.initial_noise_multiplier, said)
            })
        };
        let option = json!({"initial_noise_multiplier": 1.1});
        for (body, multiplier, said) in [
            (json!({}), 1.0, None),
            (json!({"initial_noise_multiplier": 0.5}), 0.5, Some("0.5")),
            (json!({"override_settings": option}), 1.1, Some("1.1")),
            (json!({"initial_noise_multiplier": null, "override_settings": option}), 1.1, Some("1.1")),
            (json!({"initial_noise_multiplier": 1, "override_settings": option}), 1.0, None),
        ] {
            assert_eq!(of(body.clone()).unwrap(), (multiplier, said.map(str::to_owned)), "{body}");
        }
        let problems = of(json!({"initial_noise_multiplier": 11})).unwrap_err();
        assert_eq!(problems[0].field, "initial_noise_multiplier");
    }

    #[test]
    fn a_weight_of_the_mask_out_of_range_is_named_with_a_mask_and_without() {
        for mask in [json!("y"), json!(null)] {
            let body = json!({"init_images": ["x"], "mask": mask, "override_settings": {"inpainting_mask_weight": 3}});
            let body = Drawing::Img2Img.read(body.as_object().unwrap(), || 1).unwrap();
            let request = to_request(Drawing::Img2Img, &body, &Defaults::default(), &Limits::default());
            let message = request.unwrap_err().remove(0).message;
            assert_eq!(message, "override_settings.inpainting_mask_weight must be a number between 0 and 1");
        }
    }

    #[test]
    fn names_what_is_wrong_with_the_pictures_and_the_modes() {
        assert_eq!(read(json!({})).unwrap_err(), ["init_images"]);
        let body = json!({"init_images": ["a", "b"], "batch_size": 1, "resize_mode": 4, "mask": "m", "inpainting_fill": 4});
        assert_eq!(read(body).unwrap_err(), ["init_images", "resize_mode", "inpainting_fill"]);
    }
}
