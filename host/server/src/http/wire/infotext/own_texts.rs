//! Texts that Gesso wrote: each says every option that acted and was not as usual, so that the others were.

use gesso_core::infotext::Infotext;
use serde_json::Value;

use super::super::generate::Defaults;
use super::super::options;
use super::OPTIONS;

/// What a text's version begins with where Gesso wrote it.
const OWN_VERSION: &str = "gesso ";
/// Options that a text says by one of [`OPTIONS`], by another field or in its prompts.
const SAID_OTHERWISE: [&str; 5] = [
    "token_merging_ratio_img2img",
    "use_old_karras_scheduler_sigmas",
    "face_restoration",
    "sd_lora",
    "sd_hypernetwork",
];

/// The options that a text of Gesso's own, and the one that the client sent, leave unsaid, as they are usual; none of another
/// program's, which may leave out what acted.
pub(super) fn unsaid(sent: &Infotext, text: &Infotext, defaults: &Defaults) -> Vec<(&'static str, Value)> {
    if !text.get("Version").is_some_and(|version| version.starts_with(OWN_VERSION)) {
        return Vec::new();
    }
    let is_unsaid = |key: &str| text.get(key).is_none() && sent.get(key).is_none();
    let is_as_usual = |option: &str| match option {
        // The usual one would be asked for by its name, which a client does who wants no other.
        "face_restoration_model" => false,
        // With its hash there was one whose name was not to be told.
        "sd_vae" => is_unsaid("VAE hash"),
        _ => true,
    };
    let said_by = OPTIONS.iter().filter(|(key, option)| is_unsaid(key) && is_as_usual(option));
    let names: Vec<&str> = said_by.map(|(_, option)| *option).chain(SAID_OTHERWISE).collect();
    let mut usual = options::usual(defaults, &names);
    // Null would be one that is saved.
    usual.iter_mut().filter(|(_, value)| value.is_null()).for_each(|(_, value)| *value = "None".into());
    usual
}

#[cfg(test)]
mod tests {
    use gesso_core::hires::HiresSize;
    use gesso_core::limits::Limits;
    use gesso_core::request::{GenerateRequest, VaeChoice};
    use serde_json::json;

    use super::super::super::generate::{Drawing, to_request};
    use super::super::tests::{plain, text_of};
    use super::*;

    /// What is drawn where these options are saved.
    fn drawn_beside(saved: &Value, drawing: Drawing, body: &Value) -> GenerateRequest {
        let mut body = drawing.read(body.as_object().unwrap(), || 7).unwrap();
        options::lay_under(&mut body, saved.as_object().unwrap());
        to_request(drawing, &body, &Defaults::default(), &Limits::default()).unwrap()
    }

    #[test]
    fn of_gessos_own_texts_no_saved_option_is_in_what_they_draw() {
        let saved = json!({"eta_noise_seed_delta": 31337, "tiling": true, "eta_ancestral": 0.5, "eta_ddim": 0.5,
            "s_min_uncond": 1, "pad_cond_uncond": true, "token_merging_ratio": 0.5, "token_merging_ratio_hr": 0.25,
            "use_old_karras_scheduler_sigmas": true, "s_churn": 3, "s_noise": 1.1, "beta_dist_alpha": 0.7,
            "always_discard_next_to_last_sigma": true, "comma_padding_backtrack": 5, "uni_pc_order": 2,
            "sd_vae": "x", "upscaler_for_img2img": "4x", "ESRGAN_tile": 64, "img2img_extra_noise": 0.1,
            "initial_noise_multiplier": 1.1, "emphasis": "No norm", "enable_quantization": true});
        let own_share = json!({"token_merging_ratio_img2img": 0.25});
        for drawing in [Drawing::Txt2Img, Drawing::Img2Img] {
            let of = |version: &str, more: &str, saved: &Value| {
                let fields = format!("Steps: 7, Sampler: Euler a, Seed: 5{more}, Version: {version}");
                let body = json!({"infotext": format!("a (cat:1.2)\n{fields}"), "init_images": ["x"]});
                plain(drawn_beside(saved, drawing, &body))
            };
            for more in ["", ", Tiling: True, Eta: 0.25, VAE: y", ", Token merging ratio: 0.75"] {
                let alone = of("gesso 0.1.0", more, &json!({}));
                for saved in [&saved, &own_share] {
                    assert_eq!(of("gesso 0.1.0", more, saved), alone, "{more} {saved}");
                }
            }
            // Another program may have left out what acted.
            assert!(of("v1.10.1", "", &saved).tiling);
        }
    }

    #[test]
    fn of_gessos_own_texts_a_vae_whose_name_is_not_told_is_the_saved_one() {
        let of = |more: &str| {
            let text = format!("a\nSteps: 7, Sampler: Euler, Seed: 5{more}, Version: gesso 0.1.0");
            drawn_beside(&json!({"sd_vae": "x"}), Drawing::Txt2Img, &json!({"infotext": text})).vae
        };
        assert_eq!(of(", VAE hash: 0123456789"), VaeChoice::Named("x".into()));
        assert_eq!(of(""), VaeChoice::Automatic);
    }

    #[test]
    fn the_text_of_two_passes_says_the_first_ones_size_whatever_is_saved() {
        let saved = json!({"use_old_hires_fix_width_height": true});
        let drawn = |body: Value| drawn_beside(&saved, Drawing::Txt2Img, &body);
        let was = drawn(json!({"enable_hr": true, "denoising_strength": 0.5, "width": 1024, "height": 1024}));
        assert_eq!((was.width, was.height), (512, 512));
        let text = text_of(&was);
        assert!(text.contains("Size: 512x512") && text.contains("Hires resize: 1024x1024"), "{text}");
        assert_eq!(plain(drawn(json!({"infotext": text}))), plain(was));
        // What the body says itself goes before.
        let own = drawn(json!({"infotext": text, "override_settings": saved, "width": 768, "height": 768}));
        assert_eq!(own.hires.map(|hires| hires.size), Some(HiresSize::Resize { width: 768, height: 768 }));
    }
}
