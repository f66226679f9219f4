//! One unit of control: a network that steers the picture along a map (ControlNet, T2I-Adapter), and the arithmetic
//! of its influence: how strong at which layer, at which steps, for which rows. The names and numbers are those of
//! web UIs. Knows no tensor, and neither the unit's pictures nor the file behind its model's name: they travel
//! beside it.

mod names;
mod reference;

pub use reference::{REFERENCE, STYLE_FIDELITY, names_reference, noised};

use crate::limits::Problem;

const MAX_WEIGHT: f64 = 2.0;
/// Factor from one residual to the next outer one where the prompt or the network is preferred.
const SOFT_STEP: f64 = 0.825;
/// Residuals of Stable Diffusion 1.x, the middle's included. Soft factors are counted from the last of these
/// whatever the network has.
const RESIDUALS: usize = 13;
/// The same for an adapter's four levels.
const SOFT_FEATURES: [f64; 4] = [0.25, 0.62, SOFT_STEP, 1.0];
/// Maps for which the high-resolution pass always takes soft factors: their lines leave seams at full strength.
const SOFT_IN_HIGH_RES: [&str; 2] = ["canny", "mlsd"];

/// A unit as the client asked for it. The default acts with full strength at every step.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlUnit {
    /// What makes the map from the picture; "none" takes the picture as it is.
    pub module: String,
    /// The network as the client named it (stem, or stem and hash).
    pub model: String,
    /// 0 is without effect.
    pub weight: f64,
    /// Parts of the run, 0..=1, between which the unit acts.
    pub guidance_start: f64,
    pub guidance_end: f64,
    pub mode: ControlMode,
    pub resize_mode: ResizeMode,
    /// Let [`pixel_perfect_resolution`] choose what the map is made at.
    pub pixel_perfect: bool,
    /// Pixels of the short side at which the map is made; `None` is the module's own default.
    pub processor_res: Option<u32>,
    /// The module's two settings; `None` is its own default.
    pub threshold_a: Option<f64>,
    pub threshold_b: Option<f64>,
    pub hr_option: HighResOption,
    /// A factor for each layer in place of weight and mode. Thirteen for a ControlNet; four for an adapter, or five
    /// of which the last goes unused, as web UIs send it.
    pub advanced_weighting: Option<Vec<f64>>,
}

impl Default for ControlUnit {
    fn default() -> Self {
        Self {
            module: "none".into(),
            model: String::new(),
            weight: 1.0,
            guidance_start: 0.0,
            guidance_end: 1.0,
            mode: ControlMode::default(),
            resize_mode: ResizeMode::default(),
            pixel_perfect: false,
            processor_res: None,
            threshold_a: None,
            threshold_b: None,
            hr_option: HighResOption::default(),
            advanced_weighting: None,
        }
    }
}

/// Whether prompt or map prevails where they disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ControlMode {
    #[default]
    Balanced,
    /// "My prompt is more important": outer layers are weakened.
    Prompt,
    /// "ControlNet is more important": the same, and only the prompt's rows are steered, so that guidance
    /// multiplies the steering.
    Control,
}

/// How the unit's picture is brought to the size of the one that is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResizeMode {
    /// Stretched.
    JustResize,
    /// Covers the target; what hangs over is cut off.
    #[default]
    CropAndResize,
    /// Fits into the target; the rest is filled.
    ResizeAndFill,
}

/// Which passes of a two-pass picture a unit acts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HighResOption {
    #[default]
    Both,
    LowResOnly,
    HighResOnly,
}

impl HighResOption {
    /// Whether the unit acts in this pass. A picture drawn in one pass has only the low one.
    pub fn acts_in(self, high_res: bool) -> bool {
        match self {
            Self::Both => true,
            Self::LowResOnly => !high_res,
            Self::HighResOnly => high_res,
        }
    }
}

/// What the unit's model turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlKind {
    ControlNet,
    T2iAdapter,
}

/// How a unit acts in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPass {
    pub kind: ControlKind,
    /// Tensors that the network gives: 13 for a ControlNet of Stable Diffusion 1.x, 4 for an adapter.
    pub layers: usize,
    /// The pass is the second, high-resolution one.
    pub high_res: bool,
}

impl ControlUnit {
    /// Every problem of the unit, in the order of its fields; none when it can be served.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |field, message| problems.push(Problem { field, message });
        let model = self.model.trim();
        if !self.is_reference() && (model.is_empty() || model.eq_ignore_ascii_case("none")) {
            add("model", "model is missing; name one of the control models that the server lists".into());
        }
        let mut number = |field: &'static str, value: f64, most: f64| {
            if !(0.0..=most).contains(&value) {
                // Exponents keep a number of three hundred digits out of the sentence.
                let shown = if value.abs() < 1e6 { value.to_string() } else { format!("{value:e}") };
                add(field, format!("{field} must be a number between 0 and {most}, not {shown}"));
            }
        };
        number("weight", self.weight, MAX_WEIGHT);
        number("guidance_start", self.guidance_start, 1.0);
        number("guidance_end", self.guidance_end, 1.0);
        if self.guidance_start > self.guidance_end {
            let (start, end) = (self.guidance_start, self.guidance_end);
            add(
                "guidance_start",
                format!("guidance_start {start} is behind guidance_end {end}; make it smaller"),
            );
        }
        for factor in self.advanced_weighting.iter().flatten() {
            if !factor.is_finite() {
                let message = format!("advanced_weighting holds {factor}; give finite numbers only");
                add("advanced_weighting", message);
                break;
            }
        }
        problems
    }

    /// The factor of each tensor that the network gives in this pass: residuals from the outermost inwards with the
    /// middle last, or features from the widest level on.
    ///
    /// # Errors
    /// Advanced weights must fit the network; only here its kind is known.
    pub fn scales(&self, pass: ControlPass) -> Result<Vec<f64>, Problem> {
        let ControlPass { kind, layers, .. } = pass;
        if let Some(factors) = &self.advanced_weighting {
            let fits =
                factors.len() == layers || (kind == ControlKind::T2iAdapter && factors.len() == layers + 1);
            if fits {
                return Ok(factors[..layers].to_vec());
            }
            let given = factors.len();
            return Err(Problem {
                field: "advanced_weighting",
                message: format!(
                    "advanced_weighting has {given} factors, but {} has {layers} layers; give one for each",
                    self.model
                ),
            });
        }
        if !self.is_soft(pass.high_res) {
            return Ok(vec![self.weight; layers]);
        }
        let soft = |layer: usize| match kind {
            ControlKind::ControlNet => SOFT_STEP.powi((RESIDUALS - 1).saturating_sub(layer) as i32),
            ControlKind::T2iAdapter => SOFT_FEATURES.get(layer).copied().unwrap_or(1.0),
        };
        Ok((0..layers).map(|layer| self.weight * soft(layer)).collect())
    }

    fn is_soft(&self, high_res: bool) -> bool {
        let lines = || {
            let module = self.module.to_ascii_lowercase();
            SOFT_IN_HIGH_RES.iter().any(|name| module.contains(name))
        };
        self.mode != ControlMode::Balanced || (high_res && lines())
    }

    /// Whether the rows of the negative prompt are steered too. `pools` says that the network acts through global
    /// averages ("shuffle"); such ones never steer them.
    pub fn applies_to_uncond(&self, pools: bool) -> bool {
        self.mode != ControlMode::Control && !pools
    }

    /// Whether the unit acts at `step` (from 0) of `total`; both ends of its part count.
    pub fn active(&self, step: u32, total: u32) -> bool {
        let part = f64::from(step) / f64::from(total.max(1));
        (self.guidance_start..=self.guidance_end).contains(&part)
    }
}

/// Pixels of the short side at which a map is made so that its pixels fall on those of the picture that is drawn.
/// `picture` and `target` are width and height, none 0.
pub fn pixel_perfect_resolution(picture: (u32, u32), target: (u32, u32), resize_mode: ResizeMode) -> u32 {
    let (width, height) = (f64::from(picture.0), f64::from(picture.1));
    let (across, down) = (f64::from(target.0) / width, f64::from(target.1) / height);
    let scale = if resize_mode == ResizeMode::ResizeAndFill { down.min(across) } else { down.max(across) };
    // NumPy, which web UIs round with, takes the even neighbour of a half.
    (scale * width.min(height)).round_ties_even() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NET: ControlPass = ControlPass { kind: ControlKind::ControlNet, layers: 13, high_res: false };
    const ADAPTER: ControlPass = ControlPass { kind: ControlKind::T2iAdapter, layers: 4, high_res: false };

    fn unit() -> ControlUnit {
        ControlUnit { model: "control_v11p_sd15_canny [d14c016b]".into(), ..ControlUnit::default() }
    }

    #[track_caller]
    fn assert_near(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 5e-6, "{got} is not {want}");
        }
    }

    #[test]
    fn balance_gives_every_layer_the_weight() {
        let unit = ControlUnit { weight: 0.75, ..unit() };
        assert_eq!(unit.scales(NET).unwrap(), [0.75; 13]);
        assert_eq!(unit.scales(ADAPTER).unwrap(), [0.75; 4]);
    }

    #[test]
    fn a_preference_weakens_the_outer_layers() {
        // 0.825^12 down to 0.825^0, by hand.
        let want = [
            0.099414, 0.120502, 0.146063, 0.177046, 0.214601, 0.260122, 0.3153, 0.382182, 0.46325, 0.561516,
            0.680625, 0.825, 1.0,
        ];
        for mode in [ControlMode::Prompt, ControlMode::Control] {
            let unit = ControlUnit { mode, ..unit() };
            assert_near(&unit.scales(NET).unwrap(), &want);
            assert_eq!(unit.scales(ADAPTER).unwrap(), [0.25, 0.62, 0.825, 1.0]);
            let half = ControlUnit { weight: 0.5, ..unit };
            assert_near(&half.scales(NET).unwrap(), &want.map(|factor| factor / 2.0));
        }
    }

    #[test]
    fn a_shorter_network_takes_the_first_of_the_thirteen_factors() {
        let unit = ControlUnit { mode: ControlMode::Prompt, ..unit() };
        let scales = unit.scales(ControlPass { layers: 10, ..NET }).unwrap();
        assert_near(&scales[9..], &[0.56152]);
        assert_eq!(unit.scales(ControlPass { layers: 15, ..NET }).unwrap()[12..], [1.0; 3]);
    }

    #[test]
    fn line_maps_are_soft_in_the_high_resolution_pass() {
        let soft = |module: &str, high_res| {
            let unit = ControlUnit { module: module.into(), ..unit() };
            unit.scales(ControlPass { high_res, ..NET }).unwrap()[0] < 0.1
        };
        assert_eq!(
            ["canny", "Canny", "mlsd", "invert"].map(|module| soft(module, true)),
            [true, true, true, false]
        );
        assert!(!soft("canny", false));
    }

    #[test]
    fn advanced_weights_replace_weight_and_mode() {
        let weights: Vec<f64> = (0..13).map(f64::from).collect();
        let unit = ControlUnit {
            advanced_weighting: Some(weights.clone()),
            weight: 0.5,
            mode: ControlMode::Prompt,
            ..unit()
        };
        assert_eq!(unit.scales(NET).unwrap(), weights);
        let problem = unit.scales(ADAPTER).unwrap_err();
        assert_eq!(problem.field, "advanced_weighting");
        assert!(problem.message.contains("13 factors") && problem.message.contains("4 layers"));
    }

    #[test]
    fn adapters_take_four_advanced_weights_or_five() {
        let scales = |count| {
            let weights = (0..count).map(f64::from).collect();
            ControlUnit { advanced_weighting: Some(weights), ..unit() }.scales(ADAPTER)
        };
        assert_eq!(scales(4).unwrap(), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(scales(5).unwrap(), [0.0, 1.0, 2.0, 3.0]);
        assert!(scales(3).is_err() && scales(6).is_err());
    }

    #[test]
    fn only_balanced_and_prompt_modes_steer_the_negative_rows() {
        let applies = |mode, pools| ControlUnit { mode, ..unit() }.applies_to_uncond(pools);
        assert!(applies(ControlMode::Balanced, false) && applies(ControlMode::Prompt, false));
        assert!(!applies(ControlMode::Control, false));
        assert!(!applies(ControlMode::Balanced, true));
    }

    #[test]
    fn a_unit_acts_from_start_to_end_with_both_ends_in() {
        let unit = ControlUnit { guidance_start: 0.25, guidance_end: 0.5, ..unit() };
        let steps: Vec<u32> = (0..20).filter(|step| unit.active(*step, 20)).collect();
        assert_eq!(steps, [5, 6, 7, 8, 9, 10]);
        assert!((0..20).all(|step| super::tests::unit().active(step, 20)));
        let first_only = ControlUnit { guidance_start: 0.0, guidance_end: 0.0, ..unit };
        assert!(first_only.active(0, 20) && !first_only.active(1, 20));
        assert!(first_only.active(0, 0));
    }

    #[test]
    fn passes_are_chosen_by_the_high_resolution_option() {
        let acts = |option: HighResOption| [false, true].map(|high_res| option.acts_in(high_res));
        assert_eq!(acts(HighResOption::Both), [true, true]);
        assert_eq!(acts(HighResOption::LowResOnly), [true, false]);
        assert_eq!(acts(HighResOption::HighResOnly), [false, true]);
    }

    #[test]
    fn pixel_perfect_takes_the_larger_scale_unless_the_rest_is_filled() {
        let resolution = |mode| pixel_perfect_resolution((1000, 500), (512, 768), mode);
        // Scales 0.512 across and 1.536 down, short side 500.
        assert_eq!(resolution(ResizeMode::CropAndResize), 768);
        assert_eq!(resolution(ResizeMode::JustResize), 768);
        assert_eq!(resolution(ResizeMode::ResizeAndFill), 256);
        assert_eq!(pixel_perfect_resolution((2, 1), (5, 1), ResizeMode::CropAndResize), 2);
    }

    #[test]
    fn names_every_problem_of_a_unit_at_once() {
        let fields = |unit: &ControlUnit| -> Vec<_> {
            let problems = unit.problems();
            assert!(problems.iter().all(|problem| problem.message.contains(problem.field)), "{problems:?}");
            problems.iter().map(|problem| problem.field).collect()
        };
        assert!(fields(&unit()).is_empty());
        let bad = ControlUnit {
            model: " None ".into(),
            weight: 2.5,
            guidance_start: 1.5,
            guidance_end: -1.0,
            advanced_weighting: Some(vec![1.0, f64::NAN, f64::INFINITY]),
            ..unit()
        };
        let want =
            ["model", "weight", "guidance_start", "guidance_end", "guidance_start", "advanced_weighting"];
        assert_eq!(fields(&bad), want);
        assert_eq!(fields(&ControlUnit { weight: f64::NAN, ..unit() }), ["weight"]);
        assert_eq!(
            fields(&ControlUnit { guidance_start: 0.6, guidance_end: 0.5, ..unit() }),
            ["guidance_start"]
        );
        assert!(fields(&ControlUnit { guidance_start: 0.5, guidance_end: 0.5, ..unit() }).is_empty());
    }

    proptest! {
        #[test]
        fn a_unit_without_problems_has_finite_scales(
            weight in any::<f64>(),
            start in any::<f64>(),
            end in any::<f64>(),
            mode in prop::sample::select(vec![
                ControlMode::Balanced, ControlMode::Prompt, ControlMode::Control,
            ]),
            layers in 0usize..20,
        ) {
            let unit = ControlUnit { weight, guidance_start: start, guidance_end: end, mode, ..unit() };
            if unit.problems().is_empty() {
                for pass in [ControlPass { layers, ..NET }, ControlPass { layers, ..ADAPTER }] {
                    let scales = unit.scales(pass).unwrap();
                    prop_assert_eq!(scales.len(), layers);
                    prop_assert!(scales.iter().all(|scale| (0.0..=MAX_WEIGHT).contains(scale)));
                }
            }
        }
    }
}
