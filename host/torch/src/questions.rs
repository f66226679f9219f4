//! Calls of the UNet: each question is one row under one text; those of the same networks, control, references and text
//! length share a call. Knows no guidance.

use std::rc::Rc;

use tch::{Device, Kind, TchError, Tensor};

use crate::compute::send;
use crate::control::ControlCall;
use crate::joins::Joins;
use crate::models::control::{Control, Strength};
use crate::models::unet::Extras;
use crate::models::unet::context::{Context, ContextMap};
use crate::pass::{Contexts, Stretch, Text, Unit};
use crate::reference::{Recorder, Shown};
use crate::resident::Hypernetworks;

/// One row of a UNet call.
pub(crate) struct Question<'a> {
    pub(crate) stretch: &'a Stretch,
    /// The control networks that act.
    pub(crate) units: Vec<&'a Unit>,
    /// The pictures that are drawn after.
    pub(crate) references: Vec<Shown<'a>>,
    pub(crate) map: Option<&'a Hypernetworks>,
    /// Share of the tokens that are merged.
    pub(crate) merging: f64,
    /// `[1, 4, rows, columns]` in f32.
    pub(crate) latent: Tensor,
    /// What inpainting and edit checkpoints read behind the latent.
    pub(crate) channels: Option<Tensor>,
    pub(crate) timestep: f32,
    pub(crate) text: Text,
    /// The length the text is brought to, by repeating its last token.
    pub(crate) tokens: i64,
}

impl Question<'_> {
    /// Whether both can be answered in one call. Padding a shorter text would add keys to attention and change the
    /// picture; two calls do not.
    fn fits(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.stretch.networks, &other.stretch.networks)
            && self.tokens == other.tokens
            && self.units.len() == other.units.len()
            && self.units.iter().zip(&other.units).all(|(a, b)| std::ptr::eq(*a, *b))
            && self.references.len() == other.references.len()
            && self
                .references
                .iter()
                .zip(&other.references)
                .all(|(a, b)| std::ptr::eq(a.referred, b.referred))
            && self.map.map(std::ptr::from_ref) == other.map.map(std::ptr::from_ref)
            && self.merging == other.merging
    }
}

/// What the UNet predicts, `[1, 4, rows, columns]` in f32, in the order of the questions, `together` of them in a call at most.
pub(crate) fn answer(
    questions: &[Question<'_>],
    together: usize,
    joins: &Joins,
) -> Result<Vec<Tensor>, TchError> {
    let mut answers: Vec<Option<Tensor>> = questions.iter().map(|_| None).collect();
    while let Some(first) = answers.iter().position(Option::is_none) {
        let places: Vec<usize> = (first..questions.len())
            .filter(|&index| answers[index].is_none() && questions[index].fits(&questions[first]))
            .take(together.max(1))
            .collect();
        let group: Vec<_> = places.iter().map(|&index| &questions[index]).collect();
        let out = call(&group, joins)?.f_to_kind(Kind::Float)?;
        for (row, &index) in places.iter().enumerate() {
            answers[index] = Some(out.f_narrow(0, row as i64, 1)?);
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// One call; `group` is not empty, and all of it fits together.
fn call(group: &[&Question<'_>], joins: &Joins) -> Result<Tensor, TchError> {
    let Some(first) = group.first() else { return Err(TchError::Shape("a call without rows".into())) };
    let networks = &first.stretch.networks;
    let kind = networks.unet_kind();
    let latents = Tensor::f_cat(&group.iter().map(|question| &question.latent).collect::<Vec<_>>(), 0)?;
    let latents = latents.f_to_kind(kind)?;
    let timesteps = timesteps(group, latents.device())?;
    let context = joined(group, joins, |question| &question.stretch.contexts)?;
    let map = first.map.map(|map| map as &dyn ContextMap);
    let control = control(group, joins, &latents, &timesteps, map)?;
    let channels: Vec<_> = group.iter().filter_map(|question| question.channels.as_ref()).collect();
    let x = if channels.is_empty() {
        latents
    } else {
        Tensor::f_cat(&[&latents, &Tensor::f_cat(&channels, 0)?.f_to_kind(kind)?], 1)?
    };
    let recorder = Recorder { networks, timesteps: &timesteps, context: &context, map };
    let references: Vec<_> = group.iter().map(|question| question.references.as_slice()).collect();
    let negative = (0..).zip(group).filter(|(_, question)| !question.text.is_positive);
    let negative: Vec<i64> = negative.map(|(row, _)| row).collect();
    let reference = recorder.record(&references, &negative)?;
    let (control, reference) = (control.as_ref(), reference.as_ref());
    let extras = Extras { control, map, reference, merging: first.merging };
    networks.predict_noise_with(&x, &timesteps, &context, &extras)
}

/// `[rows]` in f32. Filled on the device where they are equal, which they are unless requests met half-way.
fn timesteps(group: &[&Question<'_>], device: Device) -> Result<Tensor, TchError> {
    let timesteps: Vec<f32> = group.iter().map(|question| question.timestep).collect();
    match timesteps.as_slice() {
        [first, rest @ ..] if rest.iter().all(|timestep| timestep == first) => {
            Tensor::f_full([timesteps.len() as i64], f64::from(*first), (Kind::Float, device))
        }
        _ => send(&Tensor::f_from_slice(&timesteps)?, device),
    }
}

/// What the rows of a call read, by the contexts that a network made of their texts. All of them are of one length.
fn joined<'a, 'q: 'a>(
    group: &[&'a Question<'q>],
    joins: &Joins,
    contexts: impl Fn(&'a Question<'q>) -> &'a Contexts,
) -> Result<Rc<Context>, TchError> {
    let parts = group.iter().map(|&question| contexts(question).of(question.text));
    let tokens = group.first().map_or(0, |question| question.tokens);
    joins.of(&parts.collect::<Result<Vec<_>, _>>()?, tokens)
}

/// What the group's control networks add together.
fn control(
    group: &[&Question<'_>],
    joins: &Joins,
    latents: &Tensor,
    timesteps: &Tensor,
    map: Option<&dyn ContextMap>,
) -> Result<Option<Control>, TchError> {
    let Some(first) = group.first() else { return Ok(None) };
    let mut sum: Option<Control> = None;
    for unit in &first.units {
        let both = unit.unit.applies_to_uncond(unit.model.pools());
        let rows: Vec<i64> = (0..group.len())
            .filter(|&row| both || group[row].text.is_positive)
            .map(|row| row as i64)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let index = send(&Tensor::f_from_slice(&rows)?, latents.device())?;
        let steered: Vec<_> = rows.iter().map(|&row| group[row as usize]).collect();
        let context = joined(&steered, joins, |_| &unit.contexts)?;
        let call = ControlCall {
            x: &latents.f_index_select(0, &index)?,
            timesteps: &timesteps.f_index_select(0, &index)?,
            context: &context,
            hint: &unit.hint,
            map,
        };
        let strength = Strength { scales: &unit.scales, region: unit.region.as_ref() };
        let mut control = unit.model.residuals(&call, &strength)?;
        if rows.len() < group.len() {
            control = control.placed(&rows, group.len() as i64)?;
        }
        sum = Some(match sum {
            None => control,
            Some(sum) => sum.sum(&control)?,
        });
    }
    Ok(sum)
}
