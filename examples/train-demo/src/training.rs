//! The loop both stages run: gradients of a step's parts, a step along them, a line now and then, a saving now and then.

use std::time::Instant;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::learning;
use crate::trained::Trained;
use crate::workers::Workers;

/// Steps between two lines about the loss.
const SAY_EVERY: u32 = 100;

pub(crate) struct Course {
    /// Steps in all, those before a stop included.
    pub(crate) steps: u32,
    /// The highest learning rate.
    pub(crate) rate: f64,
    /// The part of the moving average that a step leaves.
    pub(crate) kept: f64,
}

/// Trains to the end of the course. `parts` makes the batch of a step, one part for each worker; `saved` is called
/// after each saving and at the end.
pub(crate) fn run<B: Send + 'static>(
    trained: &mut Trained,
    workers: &Workers<B>,
    course: &Course,
    parts: impl Fn(u32) -> Result<Vec<B>>,
    saved: impl Fn(&Trained) -> Result<()>,
) -> Result<()> {
    let bar = ProgressBar::new(course.steps.into()).with_position(trained.step.into());
    let (mut sum, mut said, mut since) = (0.0, trained.step, Instant::now());
    while trained.step < course.steps {
        let step = trained.step;
        let (loss, gradients) = workers.run(&trained.parameters, parts(step)?)?;
        let rate = learning::rate(step, course.steps, course.rate);
        trained.learn(gradients, (rate, course.kept), workers.count())?;
        sum += loss;
        bar.inc(1);
        if trained.step.is_multiple_of(SAY_EVERY) {
            let steps = f64::from(trained.step - said);
            let (mean, pace) = (sum / steps, since.elapsed().as_secs_f64() / steps);
            bar.suspend(|| println!("step {}: loss {mean:.4}, {pace:.2} s a step", trained.step));
            (sum, said, since) = (0.0, trained.step, Instant::now());
        }
        if trained.save_if_due()? {
            saved(trained)?;
        }
    }
    bar.finish();
    trained.save()?;
    saved(trained)
}
