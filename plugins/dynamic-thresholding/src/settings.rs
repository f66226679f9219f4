//! What a request says, in the order of the manifest, and how scales move from step to step. Knows no tensor.

use std::f64::consts::FRAC_PI_2;

use gesso_plugin::tensor::Over;
use gesso_plugin::{Arguments, Fault, Moment};

const SCALES: (f64, f64) = (0.0, 100.0);
const SHARES: (f64, f64) = (0.0, 1.0);
const PERCENTS: (f64, f64) = (0.0, 100.0);
/// As the manifest has them.
const CURVES: [(&str, Curve); 7] = [
    ("Constant", Curve::Constant),
    ("Linear Down", Curve::LinearDown),
    ("Linear Up", Curve::LinearUp),
    ("Cosine Down", Curve::CosineDown),
    ("Cosine Up", Curve::CosineUp),
    ("Power Down", Curve::PowerDown),
    ("Power Up", Curve::PowerUp),
];

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    mimic: Course,
    mimic_scale: f64,
    cfg: Course,
    /// Over which elements sizes are told: each channel's own, or all.
    pub(crate) over: Over,
    /// Whether sizes are told from the mean, or from 0.
    pub(crate) is_centred: bool,
    pub(crate) measure: Measure,
    /// How much of the outcome is taken, 0 to 1.
    pub(crate) share: f32,
}

/// What is made equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// The largest size, once what is beyond the percentile is clamped.
    Reach {
        /// 0 to 1.
        percentile: f32,
    },
    Deviation,
}

/// How a scale moves between its own value and the least.
#[derive(Debug, Clone, Copy)]
struct Course {
    curve: Curve,
    least: f64,
    power: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Curve {
    Constant,
    LinearDown,
    LinearUp,
    CosineDown,
    CosineUp,
    PowerDown,
    PowerUp,
}

impl Settings {
    /// `None` where a request switches it off.
    pub(crate) fn read(arguments: Arguments<'_>) -> Result<Option<Self>, Fault> {
        if !arguments.flag(0, "enabled")? {
            return Ok(None);
        }
        let curves = CURVES.map(|(name, _)| name);
        let power = arguments.number(7, "sched_val", SCALES)?;
        let course = |at: usize, mode: &str, scale: &str| -> Result<Course, Fault> {
            let (_, curve) = CURVES[arguments.choice(at, mode, &curves)?];
            Ok(Course { curve, least: arguments.number(at + 1, scale, SCALES)?, power })
        };
        let percentile = share_of(arguments.number(2, "threshold_percentile", PERCENTS)?) as f32;
        let measure = match arguments.choice(10, "variability_measure", &["AD", "STD"])? {
            0 => Measure::Reach { percentile },
            _ => Measure::Deviation,
        };
        let is_separate = arguments.flag(8, "separate_feature_channels")?;
        Ok(Some(Self {
            mimic: course(3, "mimic_mode", "mimic_scale_min")?,
            mimic_scale: arguments.number(1, "mimic_scale", SCALES)?,
            cfg: course(5, "cfg_mode", "cfg_scale_min")?,
            over: if is_separate { Over::Places } else { Over::Everything },
            is_centred: arguments.choice(9, "scaling_startpoint", &["MEAN", "ZERO"])? == 0,
            measure,
            share: arguments.number(11, "interpolate_phi", SHARES)? as f32,
        }))
    }

    /// The scale whose reach is taken over.
    pub(crate) fn mimic_scale(&self, at: &Moment) -> f32 {
        self.mimic.scale(self.mimic_scale, at) as f32
    }

    /// The scale of guidance, where the request lets it move.
    pub(crate) fn cfg_scale(&self, at: &Moment) -> Option<f32> {
        (self.cfg.curve != Curve::Constant).then(|| self.cfg.scale(at.guidance, at) as f32)
    }
}

/// The share that a percentile means: above 1 it is in percent, as the web UI's extension has it.
fn share_of(percentile: f64) -> f64 {
    if percentile > 1.0 { percentile / 100.0 } else { percentile }
}

impl Course {
    fn scale(&self, own: f64, at: &Moment) -> f64 {
        // 0 in the first step, 1 in the last.
        let progress = f64::from(at.step) / f64::from(at.steps.saturating_sub(1).max(1));
        let share = match self.curve {
            Curve::Constant => return own,
            Curve::LinearDown => 1.0 - progress,
            Curve::LinearUp => progress,
            Curve::CosineDown => (progress * FRAC_PI_2).cos(),
            Curve::CosineUp => 1.0 - (progress * FRAC_PI_2).cos(),
            Curve::PowerDown => 1.0 - progress.powf(self.power),
            Curve::PowerUp => progress.powf(self.power),
        };
        self.least + (own - self.least) * share
    }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::serde_json::{Value, json};

    use super::*;

    /// What the manifest has, with a change.
    fn list(place: usize, value: Value) -> Vec<Value> {
        let manifest: Value = gesso_plugin::serde_json::from_str(include_str!("../manifest.json")).unwrap();
        let arguments = manifest["steps"]["args"].as_array().unwrap();
        let mut list: Vec<_> = arguments.iter().map(|argument| argument["value"].clone()).collect();
        list[place] = value;
        list
    }

    fn read(place: usize, value: Value) -> Result<Option<Settings>, Fault> {
        Settings::read(Arguments(&list(place, value)))
    }

    fn at(step: u32, steps: u32) -> Moment {
        Moment { step, steps, guidance: 14.0, ..gesso_plugin::fake::moment() }
    }

    #[test]
    fn the_manifests_defaults_are_the_extensions() {
        let settings = read(0, json!(true)).unwrap().unwrap();
        assert_eq!(settings.measure, Measure::Reach { percentile: 1.0 });
        assert_eq!((settings.over, settings.is_centred, settings.share), (Over::Places, true, 1.0));
        assert_eq!((settings.mimic_scale(&at(3, 20)), settings.cfg_scale(&at(3, 20))), (7.0, None));
    }

    #[test]
    fn what_clients_of_the_extension_send_is_taken() {
        let sent = json!([true, 7, 100, "Constant", 0, "Constant", 0, 4, true, "MEAN", "AD", 1]);
        let settings = Settings::read(Arguments(sent.as_array().unwrap())).unwrap().unwrap();
        assert_eq!(settings.measure, Measure::Reach { percentile: 1.0 });
    }

    #[test]
    fn a_percentile_above_1_is_in_percent() {
        for (sent, percentile) in [
            (json!(0), 0.0),
            (json!(0.99), 0.99),
            (json!(1), 1.0),
            (json!(90), 0.9),
            (json!("99.5"), 0.995),
            (json!(100), 1.0),
        ] {
            let settings = read(2, sent.clone()).unwrap().unwrap();
            assert_eq!(settings.measure, Measure::Reach { percentile }, "{sent}");
        }
    }

    #[test]
    fn it_is_switched_off_whatever_else_is_said() {
        assert!(read(0, json!(false)).unwrap().is_none());
        let mut odd = list(3, json!("Sawtooth"));
        odd[0] = json!("false");
        assert!(Settings::read(Arguments(&odd)).unwrap().is_none());
    }

    #[test]
    fn the_manifest_offers_the_curves_that_there_are() {
        let manifest: Value = gesso_plugin::serde_json::from_str(include_str!("../manifest.json")).unwrap();
        for place in [3, 5] {
            assert_eq!(manifest["steps"]["args"][place]["choices"], json!(CURVES.map(|(name, _)| name)));
        }
    }

    #[test]
    fn scales_move_as_their_curve_says() {
        for (mode, want) in [
            ("Linear Down", [10.0, 6.0, 2.0]),
            ("Linear Up", [2.0, 6.0, 10.0]),
            ("cosine down", [10.0, 2.0 + 8.0 * 0.5_f32.sqrt(), 2.0]),
            ("Cosine Up", [2.0, 10.0 - 8.0 * 0.5_f32.sqrt(), 10.0]),
            ("Power Down", [10.0, 8.0, 2.0]),
            ("Power Up", [2.0, 4.0, 10.0]),
        ] {
            let mut list = list(3, json!(mode));
            (list[1], list[4], list[7]) = (json!(10), json!(2), json!(2));
            let settings = Settings::read(Arguments(&list)).unwrap().unwrap();
            let got = [0, 5, 10].map(|step| settings.mimic_scale(&at(step, 11)));
            assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{mode}: {got:?}");
        }
        let settings = read(5, json!("Linear Down")).unwrap().unwrap();
        assert_eq!((settings.cfg_scale(&at(0, 1)), settings.cfg_scale(&at(10, 11))), (Some(14.0), Some(0.0)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (place, value, label) in [
            (1, json!(-1), "mimic_scale"),
            (2, json!(100.5), "threshold_percentile"),
            (3, json!("Half Cosine Down"), "mimic_mode"),
            (6, json!("much"), "cfg_scale_min"),
            (9, json!("MEDIAN"), "scaling_startpoint"),
            (11, json!(2), "interpolate_phi"),
        ] {
            let Err(Fault::InvalidInput(text)) = read(place, value) else { panic!("{label} was accepted") };
            assert!(text.contains(label), "{text}");
        }
    }
}
