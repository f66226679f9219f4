//! What the UNet predicts for rows of several requests under all of their prompts, and what guidance makes of it. Rows
//! become questions; [`crate::questions`] answers those that fit together in one call.

use gesso_core::sampler::{Call, Register, SkipReason};
use tch::{TchError, Tensor};

use crate::joins::Joins;
use crate::memory::Portion;
use crate::pass::{Sample, Stretch, Text, Unit};
use crate::questions::{Question, answer};
use crate::reference::Shown;
use crate::source::EDIT;
use crate::working_memory::{ROWS, TOGETHER_MAX};

/// A row of a batch: a picture, the call it wants, and how many calls its pass has behind it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) sample: &'a Sample,
    pub(crate) call: &'a Call,
    pub(crate) calls_before: u32,
    pub(crate) blend_before: bool,
    /// Whether what the prompt alone predicts is asked for.
    pub(crate) wants_positive: bool,
}

/// A row's prediction, `[1, 4, rows, columns]` in f32.
pub(crate) struct Predicted {
    pub(crate) guided: Tensor,
    /// Under the negative prompt alone; where that was not asked, under the first part of the prompt.
    pub(crate) unconditional: Tensor,
    /// Under all parts of the prompt together, without guidance; where it was asked for.
    pub(crate) positive: Option<Tensor>,
    /// How much of `positive` and of `unconditional` is in `guided`.
    pub(crate) shares: (f64, f64),
}

/// Where the answers to a row's questions lie among all questions.
struct Place {
    /// Question and weight of each part of the prompt.
    positive: Vec<(usize, f64)>,
    negative: Option<usize>,
    /// Edit checkpoints: the negative prompt without the picture.
    without_picture: Option<usize>,
}

/// The guided prediction of each row. What the rows read together is kept in `joins`.
pub(crate) fn predict(
    rows: &[Asked<'_>],
    portion: Portion,
    joins: &Joins,
) -> Result<Vec<Predicted>, TchError> {
    let mut questions = Vec::new();
    let places = rows.iter().map(|row| ask(row, &mut questions)).collect::<Result<Vec<_>, _>>()?;
    // Memory is reckoned with two questions for each picture; a prompt of many parts, or an edit checkpoint, has more.
    let pictures =
        rows.iter().map(|row| row.sample.pass.rows_max).min().unwrap_or(1).min(TOGETHER_MAX as usize);
    let together = match portion {
        Portion::Usual => pictures * ROWS as usize,
        Portion::Least => 1,
    };
    let answers = answer(&questions, together, joins)?;
    rows.iter().zip(&places).map(|(row, place)| guide(row, place, &answers)).collect()
}

/// What all questions of a row have in common.
struct Asker<'a> {
    stretch: &'a Stretch,
    units: Vec<&'a Unit>,
    references: Vec<Shown<'a>>,
    sample: &'a Sample,
    /// The latent as the UNet reads it.
    latent: Tensor,
    timestep: f32,
}

impl<'a> Asker<'a> {
    fn new(row: &Asked<'a>) -> Result<Self, TchError> {
        let Asked { sample, call, .. } = *row;
        let latent = match &sample.kept {
            Some(kept) if row.blend_before => kept.blend(&sample.latents.x, call.sigma)?,
            _ => sample.latents.x.shallow_clone(),
        };
        Ok(Self {
            stretch: sample.pass.at_step(call.step)?,
            units: sample.pass.units_at(call.step).collect(),
            references: references(sample, call)?,
            sample,
            latent: latent.f_mul_scalar(call.c_in)?,
            timestep: call.timestep as f32,
        })
    }

    /// `tokens` is the length the text is brought to.
    fn question(&self, text: Text, tokens: i64, channels: Option<Tensor>) -> Question<'a> {
        Question {
            stretch: self.stretch,
            units: self.units.clone(),
            references: self.references.clone(),
            map: self.sample.pass.map.as_deref(),
            merging: self.sample.pass.merging,
            latent: self.latent.shallow_clone(),
            channels,
            timestep: self.timestep,
            text,
            tokens,
        }
    }

    fn tokens(&self, text: Text) -> Result<i64, TchError> {
        Ok(self.stretch.contexts.of(text)?.tokens())
    }
}

/// The pictures that a call draws after, at its noise level.
fn references<'a>(sample: &'a Sample, call: &Call) -> Result<Vec<Shown<'a>>, TchError> {
    let Some(noise) = &sample.reference_noise else { return Ok(Vec::new()) };
    sample.pass.references_at(call.step).map(|referred| referred.shown(noise, call.sigma)).collect()
}

fn ask<'a>(row: &Asked<'a>, questions: &mut Vec<Question<'a>>) -> Result<Place, TchError> {
    let asker = Asker::new(row)?;
    let pass = &row.sample.pass;
    let mut push = |question| {
        questions.push(question);
        questions.len() - 1
    };
    let channels = || row.sample.channels.as_ref().map(Tensor::shallow_clone);
    let parts = pass.positive.at(row.calls_before);
    let text = |&(index, weight): &(usize, f64)| (Text { is_positive: true, index }, weight);
    // The parts of an AND are brought to one length, as web UIs do.
    let lengths = parts.iter().map(|part| asker.tokens(text(part).0)).collect::<Result<Vec<_>, _>>()?;
    let longest = lengths.into_iter().max().unwrap_or(0);
    let positive: Vec<_> = parts
        .iter()
        .map(text)
        .map(|(text, weight)| (push(asker.question(text, longest, channels())), weight))
        .collect();
    if leaves_negative_out(row.sample, row.call) || negative_is_moot(row, &positive) {
        return Ok(Place { positive, negative: None, without_picture: None });
    }
    let index = pass.negative.at(row.calls_before).first().map_or(0, |(index, _)| *index);
    let text = Text { is_positive: false, index };
    let tokens = asker.tokens(text)?;
    let negative = Some(push(asker.question(text, tokens, channels())));
    let without_picture = match &row.sample.channels {
        // At a scale of 1 it cancels out.
        Some(channels) if pass.image_cfg_scale != 1.0 && asker.stretch.networks.input_channels() == EDIT => {
            Some(push(asker.question(text, tokens, Some(channels.f_zeros_like()?))))
        }
        _ => None,
    };
    Ok(Place { positive, negative, without_picture })
}

/// The factor by which a call goes from the negative prompt towards the prompt.
pub(crate) fn scale(sample: &Sample, call: &Call) -> f64 {
    // Without the negative prompt there is nothing to lead away from: the parts are joined as they are weighted.
    if leaves_negative_out(sample, call) { 1.0 } else { sample.pass.cfg_scale * call.guidance.scale }
}

/// Whether the call has the negative prompt left out. A picture's own guidance needs it: NGMS is off there, as in web UIs.
fn leaves_negative_out(sample: &Sample, call: &Call) -> bool {
    match call.guidance.skip_unconditional {
        None => false,
        Some(SkipReason::Early) => true,
        Some(SkipReason::LowNoise) => !is_edit(sample) || sample.pass.image_cfg_scale == 1.0,
    }
}

fn is_edit(sample: &Sample) -> bool {
    sample.channels.as_ref().is_some_and(|channels| channels.size().get(1) == Some(&(EDIT - 4)))
}

/// At a scale of 1 the negative prompt cancels out, so half of the work is saved.
fn negative_is_moot(row: &Asked<'_>, positive: &[(usize, f64)]) -> bool {
    scale(row.sample, row.call) == 1.0
        && !row.call.reads(Register::Unconditional)
        && !is_edit(row.sample)
        && matches!(positive, [(_, weight)] if *weight == 1.0)
}

/// `negative + sum(weight * scale * (positive - negative))`; edit checkpoints add the picture's own guidance (Brooks et
/// al. 2023, equation 3).
fn guide(row: &Asked<'_>, place: &Place, answers: &[Tensor]) -> Result<Predicted, TchError> {
    let Asked { sample, call, .. } = *row;
    let scale = scale(sample, call);
    let Some(&(first, _)) = place.positive.first() else {
        return Err(TchError::Shape("the prompt has no context".into()));
    };
    // Left out, the negative prompt counts as the first part.
    let negative = &answers[place.negative.unwrap_or(first)];
    let mut guided = match place.without_picture {
        None => negative.shallow_clone(),
        Some(without) => {
            let towards_picture = negative.f_sub(&answers[without])?;
            answers[without].f_add(&towards_picture.f_mul_scalar(sample.pass.image_cfg_scale)?)?
        }
    };
    for (question, weight) in &place.positive {
        if place.negative.is_none() && *question == first {
            continue;
        }
        guided = guided.f_add(&answers[*question].f_sub(negative)?.f_mul_scalar(weight * scale)?)?;
    }
    // An edit checkpoint has another share of the negative prompt in it, with the picture.
    let of_negative = if place.without_picture.is_some() { sample.pass.image_cfg_scale } else { 1.0 };
    let positive = row.wants_positive.then(|| joined(place, negative, answers)).transpose()?;
    let shares = (scale, of_negative - scale);
    Ok(Predicted { guided, unconditional: negative.shallow_clone(), positive, shares })
}

/// What the parts of a prompt say together: `negative + sum(weight * (part - negative))`.
fn joined(place: &Place, negative: &Tensor, answers: &[Tensor]) -> Result<Tensor, TchError> {
    let mut sum = negative.shallow_clone();
    for (question, weight) in &place.positive {
        sum = sum.f_add(&answers[*question].f_sub(negative)?.f_mul_scalar(*weight)?)?;
    }
    Ok(sum)
}
