//! What a request may ask for. Checked where requests come in, all fields at once, so that a client mends them in one
//! go. Fields go by their wire names. Knows nothing of where a request came from.

mod options;

use crate::hires::{Hires, HiresSize, HiresTarget};
use crate::request::GenerateRequest;

/// Side of the square of pixels that one element of the latent stands for.
const SIZE_MULTIPLE: u32 = 8;
/// Of either side of a picture; smaller ones are refused.
pub const MIN_SIDE_PX: u32 = 64;
/// Layers of CLIP's text encoder.
const MAX_CLIP_SKIP: u32 = 12;
/// Beyond it hardly a token is left beside those that take others in.
const MAX_TOKEN_MERGING: f64 = 0.9;
/// Wider blurs spread a mask over any picture.
const MAX_BLUR_PX: u32 = 256;

/// Upper bounds that an operator may set.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub max_side_px: u32,
    pub max_pixels: u64,
    pub max_steps: u32,
    /// Pictures of one request, all batches together.
    pub max_images: u32,
    /// Each of the two prompts, in UTF-8.
    pub max_prompt_bytes: usize,
    pub max_cfg_scale: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_side_px: 2048,
            max_pixels: 2048 * 2048,
            max_steps: 150,
            max_images: 16,
            max_prompt_bytes: 16 * 1024,
            max_cfg_scale: 100.0,
        }
    }
}

/// A field that cannot be served, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The wire name.
    pub field: &'static str,
    /// A sentence that names the field and the remedy.
    pub message: String,
}

impl Limits {
    /// Every problem of a request, in the order of its fields; none when it can be served.
    pub fn check(&self, request: &GenerateRequest) -> Vec<Problem> {
        let mut problems = Problems(Vec::new());
        problems.prompt("prompt", &request.prompt, self.max_prompt_bytes);
        problems.prompt("negative_prompt", &request.negative_prompt, self.max_prompt_bytes);
        self.check_size(request, &mut problems);
        problems.whole("steps", request.steps, request.sampler.least_steps(), self.max_steps);
        problems.number("cfg_scale", request.cfg_scale, self.max_cfg_scale);
        problems.number("subseed_strength", request.variation.strength, 1.0);
        if let Some((width, height)) = request.seed_resize_from {
            problems.side("seed_resize_from_w", width, self.max_side_px);
            problems.side("seed_resize_from_h", height, self.max_side_px);
        }
        self.check_count(request, &mut problems);
        problems.whole("CLIP_stop_at_last_layers", request.clip_skip, 1, MAX_CLIP_SKIP);
        problems.number("token_merging_ratio", request.token_merging.first, MAX_TOKEN_MERGING);
        options::check(&request.options, &mut problems);
        if let Some(hires) = &request.hires {
            self.check_hires(request, hires, &mut problems);
        }
        if let Some(img2img) = &request.img2img {
            problems.number("denoising_strength", img2img.denoising_strength, 1.0);
            problems.number("image_cfg_scale", img2img.image_cfg_scale, self.max_cfg_scale);
            if let Some(mask) = &img2img.mask {
                problems.whole("mask_blur_x", mask.blur.0, 0, MAX_BLUR_PX);
                problems.whole("mask_blur_y", mask.blur.1, 0, MAX_BLUR_PX);
                problems.whole(
                    "inpaint_full_res_padding",
                    mask.only_masked.unwrap_or(0),
                    0,
                    self.max_side_px,
                );
            }
        }
        problems.0
    }

    /// The second pass's own numbers, and the size it ends at.
    fn check_hires(&self, request: &GenerateRequest, hires: &Hires, problems: &mut Problems) {
        let texts = [("hr_prompt", &hires.prompt), ("hr_negative_prompt", &hires.negative_prompt)];
        for (field, text) in texts {
            problems.prompt(field, text.as_deref().unwrap_or_default(), self.max_prompt_bytes);
        }
        problems.number("denoising_strength", hires.denoising_strength, 1.0);
        problems.number("token_merging_ratio_hr", request.token_merging.second, MAX_TOKEN_MERGING);
        problems.whole("hr_second_pass_steps", hires.steps.unwrap_or(1), 1, self.max_steps);
        // A first size that is refused gives no second.
        if request.width == 0 || request.height == 0 {
            return;
        }
        self.check_second_size(hires.size, hires.size.target(request.width, request.height), problems);
    }

    /// The sides are the fields' that ask for them: one that is not given follows the other.
    fn check_second_size(&self, size: HiresSize, target: HiresTarget, problems: &mut Problems) {
        let (of_width, of_height) = match size {
            HiresSize::Scale(_) => ("hr_scale", "hr_scale"),
            HiresSize::Resize { width: 0, .. } => ("hr_resize_y", "hr_resize_y"),
            HiresSize::Resize { height: 0, .. } => ("hr_resize_x", "hr_resize_x"),
            HiresSize::Resize { .. } => ("hr_resize_x", "hr_resize_y"),
        };
        let (width, height) = target.size;
        let (least, most) = (MIN_SIDE_PX, self.max_side_px);
        let sides = [(of_width, width), (of_height, height)];
        let mut unfit: Vec<&'static str> = sides
            .iter()
            .filter(|(_, side)| !(least..=most).contains(side))
            .map(|(field, _)| *field)
            .collect();
        unfit.dedup();
        if !unfit.is_empty() {
            for field in unfit {
                let message = format!(
                    "{field} makes the second pass {width} x {height}; each side must be between {least} and {most}"
                );
                problems.add(field, message);
            }
            return;
        }
        // What is enlarged covers the size.
        let (wide, high) = target.enlarged;
        let most = self.max_pixels;
        if u64::from(wide) * u64::from(high) <= most {
            return;
        }
        let (of_what, remedy) = if target.enlarged == target.size {
            (String::new(), "make it smaller")
        } else {
            let of_what = format!(", for which the first is enlarged to {wide} x {high}");
            (of_what, "make it smaller, or nearer to the first pass's shape")
        };
        let message = format!(
            "{of_width} makes the second pass {width} x {height}{of_what}: over the {most} pixels of this server; {remedy}"
        );
        problems.add(of_width, message);
    }

    fn check_size(&self, request: &GenerateRequest, problems: &mut Problems) {
        let (width, height) = (request.width, request.height);
        let sides_fit = problems.side("width", width, self.max_side_px)
            & problems.side("height", height, self.max_side_px);
        if sides_fit && u64::from(width) * u64::from(height) > self.max_pixels {
            let most = self.max_pixels;
            problems.add(
                "width",
                format!(
                    "{width} x {height} is over the {most} pixels of this server; make either side smaller"
                ),
            );
        }
    }

    fn check_count(&self, request: &GenerateRequest, problems: &mut Problems) {
        let (size, batches, most) = (request.batch_size, request.n_iter, self.max_images);
        let each_fits =
            problems.whole("batch_size", size, 1, most) & problems.whole("n_iter", batches, 1, most);
        if each_fits && u64::from(size) * u64::from(batches) > u64::from(most) {
            problems.add(
                "n_iter",
                format!("batch_size {size} times n_iter {batches} is over the {most} pictures of one request; send more requests"),
            );
        }
    }
}

/// The problems found so far. Each check says whether the field was fine.
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: &'static str, message: String) {
        self.0.push(Problem { field, message });
    }

    fn prompt(&mut self, field: &'static str, text: &str, most: usize) {
        if text.len() > most {
            self.add(field, format!("{field} has {} bytes; shorten it to {most}", text.len()));
        }
    }

    fn side(&mut self, field: &'static str, px: u32, most: u32) -> bool {
        if !px.is_multiple_of(SIZE_MULTIPLE) {
            let below = (px / SIZE_MULTIPLE * SIZE_MULTIPLE).min(most).max(MIN_SIDE_PX);
            self.add(field, format!("{field} must be a multiple of {SIZE_MULTIPLE}, not {px}; try {below}"));
            return false;
        }
        self.whole(field, px, MIN_SIDE_PX, most)
    }

    fn whole(&mut self, field: &'static str, value: u32, least: u32, most: u32) -> bool {
        let fits = (least..=most).contains(&value);
        if !fits {
            self.add(field, format!("{field} must be between {least} and {most}, not {value}"));
        }
        fits
    }

    fn above_zero(&mut self, field: &'static str, value: Option<f64>, most: f64) {
        if value == Some(0.0) {
            self.add(field, format!("{field} must be above 0; leave it out for the default"));
        } else {
            self.number(field, value.unwrap_or(most), most);
        }
    }

    /// From 0 up; NaN and the infinite are out of every range.
    fn number(&mut self, field: &'static str, value: f64, most: f64) {
        if !(0.0..=most).contains(&value) {
            // Exponents keep a number of three hundred digits out of the sentence.
            let shown = if value.abs() < 1e6 { value.to_string() } else { format!("{value:e}") };
            self.add(field, format!("{field} must be a number between 0 and {most}, not {shown}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;
    use crate::hires::{HiresUpscaler, LatentUpscaler};
    use crate::request::Variation;
    use crate::sampler::{Churn, Plan, Sampler, SamplerOptions};
    use crate::schedule::{NoiseSchedule, Scheduler};

    /// Changes the example and returns the problems as `field: message`.
    fn problems(change: impl FnOnce(&mut GenerateRequest)) -> Vec<String> {
        let mut request = fixture::request();
        change(&mut request);
        let found = Limits::default().check(&request);
        assert!(
            found
                .iter()
                .all(|problem| problem.message.contains(problem.field) || problem.message.contains("pixels")),
            "{found:?}"
        );
        found.into_iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
    }

    fn fields(change: impl FnOnce(&mut GenerateRequest)) -> Vec<String> {
        let name = |problem: &String| problem.split(':').next().unwrap().to_owned();
        problems(change).iter().map(name).collect()
    }

    #[test]
    fn accepts_the_example() {
        assert_eq!(problems(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn refuses_a_width_that_is_not_a_multiple_of_eight() {
        assert_eq!(problems(|r| r.width = 513), ["width: width must be a multiple of 8, not 513; try 512"]);
        assert_eq!(problems(|r| r.width = 7), ["width: width must be a multiple of 8, not 7; try 64"]);
    }

    #[test]
    fn refuses_sides_and_areas_out_of_bounds() {
        assert_eq!(problems(|r| r.height = 0), ["height: height must be between 64 and 2048, not 0"]);
        assert_eq!(fields(|r| r.height = 2056), ["height"]);
        assert_eq!(fields(|r| r.width = u32::MAX - 7), ["width"]);
        let limits = Limits { max_pixels: 512 * 512, ..Limits::default() };
        let request = GenerateRequest { width: 520, ..fixture::request() };
        let [problem] = &limits.check(&request)[..] else { panic!("one problem") };
        assert_eq!(
            (problem.field, problem.message.as_str()),
            ("width", "520 x 512 is over the 262144 pixels of this server; make either side smaller")
        );
    }

    #[test]
    fn a_limit_below_the_smallest_picture_refuses_all_without_panic() {
        let limits = Limits { max_side_px: 0, max_images: 0, ..Limits::default() };
        let request = GenerateRequest { width: 65, ..fixture::request() };
        let fields: Vec<_> = limits.check(&request).iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["width", "height", "batch_size", "n_iter"]);
    }

    #[test]
    fn names_every_problem_at_once() {
        let got = fields(|r| {
            r.prompt = "é".repeat(8193);
            r.negative_prompt = "x".repeat(16385);
            (r.width, r.height, r.steps) = (100, 8, 0);
            r.cfg_scale = f64::NAN;
            r.variation = Variation { subseed: 0, strength: 1.5 };
            r.seed_resize_from = Some((4, 4096));
            (r.batch_size, r.n_iter, r.clip_skip) = (0, 17, 13);
            r.token_merging.first = 0.95;
            r.options.eta = Some(-0.1);
            r.options.churn =
                Churn { amount: 1e9, min_sigma: f64::INFINITY, max_sigma: f64::NAN, noise: -1.0 };
        });
        assert_eq!(
            got.join(" "),
            "prompt negative_prompt width height steps cfg_scale subseed_strength seed_resize_from_w \
             seed_resize_from_h batch_size n_iter CLIP_stop_at_last_layers token_merging_ratio eta s_churn s_tmin s_tmax \
             s_noise"
        );
    }

    #[test]
    fn numbers_beyond_all_use_are_named_shortly() {
        for (value, shown) in
            [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf"), (1e300, "1e300"), (-0.5, "-0.5")]
        {
            let want = format!("cfg_scale: cfg_scale must be a number between 0 and 100, not {shown}");
            assert_eq!(problems(|r| r.cfg_scale = value), [want]);
        }
    }

    #[test]
    fn counts_pictures_without_overflowing() {
        assert_eq!(fields(|r| (r.batch_size, r.n_iter) = (4, 5)), ["n_iter"]);
        assert_eq!(fields(|r| (r.batch_size, r.n_iter) = (u32::MAX, u32::MAX)), ["batch_size", "n_iter"]);
        assert!(fields(|r| (r.batch_size, r.n_iter) = (4, 4)).is_empty());
    }

    #[test]
    fn a_second_passs_size_is_named_by_the_side_that_does_not_fit() {
        let said = |size: HiresSize| {
            problems(|r| {
                (r.width, r.height) = (512, 512);
                r.hires = Some(Hires {
                    size,
                    upscaler: HiresUpscaler::Latent(LatentUpscaler::Bilinear),
                    denoising_strength: 0.5,
                    steps: None,
                    sampler: None,
                    scheduler: None,
                    prompt: None,
                    negative_prompt: None,
                    model: None,
                    from_picture: false,
                });
            })
        };
        let resize = |width, height| said(HiresSize::Resize { width, height });
        let low = "hr_resize_y makes the second pass 512 x 8; each side must be between 64 and 2048";
        assert_eq!(resize(512, 8), [format!("hr_resize_y: {low}")]);
        let name = |problem: &String| problem.split(':').next().unwrap().to_owned();
        let fields = |problems: Vec<String>| problems.iter().map(name).collect::<Vec<_>>();
        assert_eq!(fields(resize(4096, 8)), ["hr_resize_x", "hr_resize_y"]);
        assert_eq!(fields(resize(0, 4096)), ["hr_resize_y"]);
        assert_eq!(fields(resize(4096, 0)), ["hr_resize_x"]);
        assert_eq!(fields(said(HiresSize::Scale(8.0))), ["hr_scale"]);
        assert_eq!(resize(2048, 64), Vec::<String>::new());
        let limits = Limits { max_pixels: 1024 * 1024, ..Limits::default() };
        let mut target = HiresSize::Resize { width: 2048, height: 64 }.target(512, 512);
        let mut found = Problems(Vec::new());
        limits.check_second_size(HiresSize::Resize { width: 2048, height: 64 }, target, &mut found);
        assert!(found.0[0].message.contains("2048 x 64, for which the first is enlarged to 2048 x 2048:"));
        target = HiresSize::Scale(4.0).target(512, 512);
        limits.check_second_size(HiresSize::Scale(4.0), target, &mut found);
        assert!(
            found.0[1]
                .message
                .contains("hr_scale makes the second pass 2048 x 2048: over the 1048576 pixels")
        );
    }

    #[test]
    fn one_step_of_ddim_would_draw_nothing() {
        let ddim = |steps| fields(|r| (r.sampler, r.steps) = (Sampler::Ddim, steps));
        assert_eq!((ddim(1), ddim(2)), (vec!["steps".to_owned()], vec![]));
    }

    #[test]
    fn no_upper_churn_limit_is_fine() {
        assert!(fields(|r| r.options.churn.max_sigma = f64::INFINITY).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_passes_has_a_plan(
            sampler in prop::sample::select(Sampler::ALL.to_vec()),
            scheduler in prop::sample::select(Scheduler::ALL.to_vec()),
            steps in 0u32..160,
            eta in prop::option::of(-0.5f64..1.5),
            amount in prop_oneof![any::<f64>(), 0.0f64..50.0],
            max_sigma in prop_oneof![any::<f64>(), Just(f64::INFINITY)],
        ) {
            let churn = Churn { amount, max_sigma, ..Churn::default() };
            let options = SamplerOptions { eta, churn, ..SamplerOptions::default() };
            let request = GenerateRequest { sampler, scheduler, steps, options, ..fixture::request() };
            let plan = Plan::new(&request.first_pass(), &NoiseSchedule::sd1());
            if Limits::default().check(&request).is_empty() {
                prop_assert!(plan.is_ok_and(|plan| plan.total_calls() > 0));
            }
        }
    }
}
