//! Levels that Sabour et al. 2024, "Align your steps", found best for ten steps of Stable Diffusion 1 and XL,
//! resampled evenly in their logarithm for other numbers of steps.

use super::{AlignedSteps, NoiseSchedule, linspace};

const SD1: [f64; 11] = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029];
const SDXL: [f64; 11] = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029];

pub(super) fn sigmas(table: &NoiseSchedule, n: usize) -> Vec<f64> {
    let levels = match table.aligned_steps() {
        AlignedSteps::Sd1 => &SD1,
        AlignedSteps::Sdxl => &SDXL,
    };
    let last = levels.len() - 1;
    // Web UIs give the lowest level for one step, which would draw nothing; the highest is given here.
    linspace(0.0, last as f64, n)
        .map(|at| {
            let low = (at as usize).min(last - 1);
            let weight = at - low as f64;
            levels[low] * (levels[low + 1] / levels[low]).powf(weight)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::check;
    use crate::schedule::{Scheduler, Spacing};

    /// Values: numpy's `interp`, printed by `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_numpy() {
        check(Scheduler::AlignYourSteps, 6, &[14.615, 3.861, 1.886, 0.963, 0.399, 0.029, 0.0], 1e-9);
        check(
            Scheduler::AlignYourSteps,
            20,
            &[
                14.615,
                9.52171352153,
                6.30117990792,
                4.80001889951,
                3.71790096269,
                3.07813663026,
                2.54890526974,
                2.11152482108,
                1.77025204688,
                1.51101455333,
                1.26604401586,
                1.04129930348,
                0.85140908361,
                0.693412393521,
                0.544092458397,
                0.420167894213,
                0.265764762478,
                0.159920089879,
                0.0693511347574,
                0.029,
                0.0,
            ],
            1e-9,
        );
    }

    #[test]
    fn eleven_levels_are_the_published_ones() {
        let xl = NoiseSchedule::sd1().with_aligned_steps(AlignedSteps::Sdxl);
        let got = crate::schedule::sigmas(Scheduler::AlignYourSteps, &xl, 11, &Spacing::default());
        for (got, want) in got.iter().zip(SDXL.iter().chain(&[0.0])) {
            assert!((got - want).abs() < 1e-12, "{got} is not {want}");
        }
    }
}
