//! Asks the host for many drawings, a few at a time, so that they share the device's steps and none is refused for want of
//! room.

use std::collections::VecDeque;

use gesso_core::hires::HiresSize;
use gesso_core::infotext::Infotext;
use gesso_plugin::inference::{self, Drawn, Job};
use gesso_plugin::{Fault, Image, ImageDesc, Params, ScriptCall, lax};
use serde_json::Value;

use crate::tiles::{Pixels, Tiles};

/// Drawings under way at a time.
const AT_ONCE: usize = 8;
/// `inpainting_fill`: what is under the mask is drawn over as it is.
pub(crate) const FILL_ORIGINAL: usize = 1;
/// Upscalers that clients count from 0; all others go by name.
const COUNTED: [&str; 3] = ["None", "Lanczos", "Nearest"];

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

/// A picture that is drawn over in tiles, each through its part of the mask, and put together again; with the infotext of the
/// first tile. Where `is_drawn` says no, a tile stays as it is.
pub(crate) fn draw_tiles(
    params: &Params,
    whole: &Pixels,
    mask: &Pixels,
    tiles: &Tiles,
    is_drawn: impl Fn((u32, u32)) -> bool,
) -> Result<(Pixels, Option<String>), Fault> {
    let jobs = tiles.places().filter(|place| is_drawn(*place)).map(|place| {
        let (tile, mask) = (whole.cut(place, tiles.size).write()?, mask.cut(place, tiles.size).write()?);
        inference::generate(params, std::slice::from_ref(&tile), Some(&mask))
    });
    let mut drawn = in_turn(jobs)?.into_iter();
    let mut pasted = whole.clone();
    let mut infotext = None;
    for place in tiles.places() {
        let tile = match is_drawn(place).then(|| drawn.next()).flatten() {
            Some(tile) => {
                let (picture, text) = first(tile)?;
                infotext = infotext.or(Some(text));
                Pixels::read(&picture)?
            }
            None => whole.cut(place, tiles.size),
        };
        pasted.paste(&tile, place, tiles.fades(place));
    }
    Ok((pasted, infotext))
}

/// Makes a request one picture of that size, in which a mask of the script's own says what is drawn.
pub(crate) fn through_mask(params: &mut Params, (width, height): (u32, u32), blur: u32, fill: usize) {
    for (field, value) in [
        ("width", width),
        ("height", height),
        ("batch_size", 1),
        ("n_iter", 1),
        ("mask_blur", blur),
        ("inpainting_fill", fill as u32),
        ("inpainting_mask_invert", 0),
    ] {
        params.set(field, value);
    }
    params.set("inpaint_full_res", false);
}

/// The size that a request asks for.
pub(crate) fn frame(params: &Params) -> (u32, u32) {
    let side = |field: &str| params.get(field).and_then(Value::as_u64).unwrap_or(512) as u32;
    (side("width"), side("height"))
}

/// How large the pictures of a request of the call's come: with its second pass, and with what a mask keeps around the part
/// that is drawn.
pub(crate) fn drawn_size(call: &ScriptCall, params: &Params) -> (u32, u32) {
    let is_on = |field: &str| params.get(field).and_then(Value::as_bool) == Some(true);
    let is_part = call.mask.is_some() && is_on("inpaint_full_res");
    if let Some(whole) = call.init_images.first().filter(|_| is_part && is_laid_over(params)) {
        let ImageDesc { width, height, .. } = whole.desc();
        return (width, height);
    }
    let (width, height) = frame(params);
    if !is_on("enable_hr") {
        return (width, height);
    }
    let number = |field: &str| params.get(field).and_then(Value::as_f64);
    let side = |field: &str| number(field).unwrap_or_default() as u32;
    let size = match (side("hr_resize_x"), side("hr_resize_y")) {
        _ if option(params, "use_old_hires_fix_width_height") == Some(true) => {
            HiresSize::Resize { width, height }
        }
        (0, 0) => HiresSize::Scale(number("hr_scale").unwrap_or(2.0)),
        (width, height) => HiresSize::Resize { width, height },
    };
    let (width, height) = match (side("firstphase_width"), side("firstphase_height")) {
        (0, _) | (_, 0) => (width, height),
        first => first,
    };
    size.target(width, height).size
}

/// Whether a part is put back into its picture, which an option of the web UI's turns off.
fn is_laid_over(params: &Params) -> bool {
    option(params, "overlay_inpaint").unwrap_or(true)
}

/// A switch among the options of a request, under which the host has laid those that are saved.
fn option(params: &Params, name: &str) -> Option<bool> {
    lax::from_value(params.get("override_settings")?.get(name)?).ok()
}

/// The name of an upscaler that goes by its name or its number; nothing for one that only resizes.
pub(crate) fn upscaler(given: &str) -> Option<&str> {
    let counted = given.parse().ok().and_then(|place: usize| COUNTED.get(place).copied());
    Some(counted.unwrap_or(given)).filter(|name| !["", "None"].contains(name))
}

/// What an infotext calls an upscaler; nothing for a place behind those that are counted here, because the host alone
/// knows what lies there.
pub(crate) fn upscaler_name(given: &str) -> Option<&str> {
    match upscaler(given) {
        Some(place) if place.trim().parse::<usize>().is_ok() => None,
        name => Some(name.unwrap_or("None")),
    }
}

/// The first picture of a drawing, with its infotext.
pub(crate) fn first(drawn: Drawn) -> Result<(Image, String), Fault> {
    pictures(drawn).next().ok_or_else(|| Fault::Other("The host drew no picture.".into()))
}

/// Pictures with their infotexts.
pub(crate) fn pictures(drawn: Drawn) -> impl Iterator<Item = (Image, String)> {
    drawn.images.into_iter().zip(drawn.infotexts)
}

/// A picture's text that says these fields too.
pub(crate) fn described(infotext: &str, fields: &[(&str, String)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Infotext::extended(infotext, &fields)
}

/// The seed of a request, and others from it.
pub(crate) fn seed(params: &Params) -> u64 {
    params.get("seed").and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use gesso_plugin::{PixelFormat, fake};

    use super::*;

    fn grey(width: u32, height: u32) -> Image {
        fake::picture(width, height, PixelFormat::Gray8, &vec![0; (width * height) as usize])
    }

    fn call(init_images: Vec<Image>, mask: Option<Image>) -> ScriptCall {
        let params = Params::from_json("{}").unwrap();
        ScriptCall { title: String::new(), params, arguments: Vec::new(), init_images, mask }
    }

    #[test]
    fn a_second_pass_tells_how_large_pictures_come() {
        let call = call(Vec::new(), None);
        let of = |fields: &str| {
            let params = format!(r#"{{"width": 512, "height": 256{fields}}}"#);
            drawn_size(&call, &Params::from_json(&params).unwrap())
        };
        assert_eq!(of(""), (512, 256));
        assert_eq!(of(r#", "hr_scale": 2"#), (512, 256));
        assert_eq!(of(r#", "enable_hr": true, "hr_scale": 1.5, "hr_resize_x": 0"#), (768, 384));
        assert_eq!(of(r#", "enable_hr": true, "hr_resize_x": 1024"#), (1024, 512));
        assert_eq!(of(r#", "enable_hr": true, "hr_resize_x": 640, "hr_resize_y": 640"#), (640, 640));
        assert_eq!(of(r#", "enable_hr": true, "hr_scale": 1.3"#), (664, 328), "a latent has whole elements");
    }

    #[test]
    fn a_first_pass_of_a_size_of_its_own_is_what_a_second_pass_enlarges() {
        let call = call(Vec::new(), None);
        let of = |fields: &str| {
            let params = format!(r#"{{"width": 1024, "height": 256, "enable_hr": true{fields}}}"#);
            drawn_size(&call, &Params::from_json(&params).unwrap())
        };
        let first = r#", "firstphase_width": 512, "firstphase_height": 128"#;
        assert_eq!(of(first), (1024, 256));
        assert_eq!(of(&format!(r#"{first}, "hr_resize_x": 768"#)), (768, 192));
        assert_eq!(of(r#", "firstphase_width": 0, "firstphase_height": 0"#), (2048, 512));
        let old = r#", "override_settings": {"use_old_hires_fix_width_height": true}"#;
        for fields in ["", first, r#", "hr_resize_x": 640"#] {
            assert_eq!(of(&format!("{fields}{old}")), (1024, 256), "{fields}");
        }
        let off = r#", "override_settings": {"use_old_hires_fix_width_height": false}"#;
        assert_eq!(of(off), (2048, 512));
    }

    #[test]
    fn a_part_that_is_drawn_alone_comes_in_its_whole_picture() {
        let (masked, plain) = (call(vec![grey(96, 48)], Some(grey(96, 48))), call(vec![grey(96, 48)], None));
        let of = |call: &ScriptCall, fields: &str| {
            let params = format!(r#"{{"width": 64, "height": 32, "inpaint_full_res": {fields}}}"#);
            drawn_size(call, &Params::from_json(&params).unwrap())
        };
        assert_eq!(of(&masked, "true"), (96, 48));
        assert_eq!(of(&masked, r#"true, "override_settings": {"overlay_inpaint": "true"}"#), (96, 48));
        for (call, fields) in [
            (&plain, "true"),
            (&masked, "false"),
            (&masked, r#"true, "override_settings": {"overlay_inpaint": false}"#),
        ] {
            assert_eq!(of(call, fields), (64, 32), "{fields}");
        }
    }

    #[test]
    fn upscalers_go_by_number_or_name() {
        let found = ["", "None", "0", "1", "Lanczos", "2", "4x-Foo", "7"].map(upscaler);
        let lanczos = Some("Lanczos");
        assert_eq!(found, [None, None, None, lanczos, lanczos, Some("Nearest"), Some("4x-Foo"), Some("7")]);
    }

    #[test]
    fn infotexts_name_upscalers_and_count_none() {
        let named = ["", "0", "1", "2", "4x-Foo", "3", " 7 "].map(upscaler_name);
        let none = Some("None");
        assert_eq!(named, [none, none, Some("Lanczos"), Some("Nearest"), Some("4x-Foo"), None, None]);
    }
}
