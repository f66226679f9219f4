//! A training in progress: the learning tensors, their moments, their moving average and the step, in one file that
//! is written now and then and at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use gesso_torch::Tensors;
use tch::{Kind, Tensor};

use crate::adamw::{self, Moments};
use crate::{checkpoint, learning};

/// Time between two savings.
const SAVE_EVERY: Duration = Duration::from_secs(300);
const STEP: &str = "step";

pub(crate) struct Trained {
    /// What learns, by name, in f32.
    pub(crate) parameters: Tensors,
    /// Its moving average, which is what is kept in the end.
    pub(crate) average: Tensors,
    /// Steps that are done.
    pub(crate) step: u32,
    moments: Vec<Moments>,
    file: PathBuf,
    saved: Instant,
}

impl Trained {
    /// Goes on with `file` if it is there, else begins with the tensors of `start` under `prefixes`.
    pub(crate) fn open(start: &Tensors, prefixes: &[&str], file: &Path) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        let parameters = checkpoint::trained(start, prefixes)?;
        let mut average = Tensors::default();
        let mut moments = Vec::new();
        for (name, tensor) in &parameters.named {
            average.named.insert(name.clone(), tensor.detach().copy());
            moments.push(Moments::new(tensor)?);
        }
        let saved = Instant::now();
        let mut trained = Self { parameters, average, step: 0, moments, file: file.to_owned(), saved };
        if file.exists() {
            trained.read().with_context(|| format!("cannot go on with {}", file.display()))?;
            println!("goes on after step {}", trained.step);
        }
        Ok(trained)
    }

    fn read(&mut self) -> Result<()> {
        let mut known: std::collections::HashMap<String, Tensor> =
            Tensor::read_safetensors(&self.file)?.into_iter().collect();
        let step = known.remove(STEP).context("it has no step")?;
        self.step = u32::try_from(i64::try_from(step)?)?;
        for (name, tensor) in self.named() {
            match known.remove(&name) {
                Some(stored) if stored.size() == tensor.size() => tensor.shallow_clone().f_copy_(&stored)?,
                _ => bail!("its {name} is missing or of another shape; remove it to begin anew"),
            }
        }
        // What it learned of these would be lost without a word.
        if let Some(name) = known.keys().min() {
            bail!(
                "its {name} does not learn in this stage; give the options it was begun with, or remove it"
            );
        }
        Ok(())
    }

    /// Everything that is saved, under its name in the file.
    fn named(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        let parts = self.parameters.named.iter().zip(self.average.named.values()).zip(&self.moments);
        for (((name, parameter), average), moments) in parts {
            all.push((format!("parameter.{name}"), parameter.detach()));
            all.push((format!("average.{name}"), average.shallow_clone()));
            all.push((format!("first.{name}"), moments.first.shallow_clone()));
            all.push((format!("second.{name}"), moments.second.shallow_clone()));
        }
        all
    }

    pub(crate) fn save(&mut self) -> Result<()> {
        let mut all = self.named();
        all.push((STEP.into(), Tensor::from(i64::from(self.step))));
        let unfinished = self.file.with_extension("unfinished");
        Tensor::write_safetensors(&all, &unfinished)?;
        fs::rename(&unfinished, &self.file)
            .with_context(|| format!("cannot write {}", self.file.display()))?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Saves if it is long ago; says whether it did.
    pub(crate) fn save_if_due(&mut self) -> Result<bool> {
        let due = self.saved.elapsed() >= SAVE_EVERY;
        if due {
            self.save()?;
        }
        Ok(due)
    }

    /// Moves the parameters along `gradients`, which are in the order of the names, and the average after them. So many
    /// threads take one tensor after another.
    pub(crate) fn learn(
        &mut self,
        gradients: Vec<Tensor>,
        (rate, kept): (f64, f64),
        threads: usize,
    ) -> Result<()> {
        let scale = adamw::shortening(&gradients)?;
        if !scale.is_finite() {
            bail!("the gradients are not numbers at step {}; try a lower --rate", self.step);
        }
        let at = (i32::try_from(self.step + 1)?, rate, scale);
        let kept = learning::kept(self.step, kept);
        let parts = self.parameters.named.values_mut().zip(self.average.named.values_mut());
        let queue = Mutex::new(parts.zip(&mut self.moments).zip(gradients));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> Result<()> {
            let _guard = tch::no_grad_guard();
            while let Some((((parameter, average), moments), gradient)) = next() {
                adamw::step(parameter, &gradient, moments, at)?;
                let _ = average.f_lerp_(&parameter.detach(), 1.0 - kept)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
                thread.join().map_err(|_| anyhow!("a thread panicked while it learned"))?
            };
            threads.into_iter().try_for_each(join)
        })?;
        self.step += 1;
        Ok(())
    }

    /// The whole checkpoint with the average in its place.
    pub(crate) fn checkpoint(&self, start: &Tensors) -> Tensors {
        start.overlaid(&self.average)
    }
}

/// A training that is there would go on in place of the random numbers that were asked for.
pub(crate) fn refuse_fresh(fresh: bool, file: &Path) -> Result<()> {
    if fresh && file.exists() {
        bail!(
            "{} is there already; go on with it without --fresh, or remove it or name another --state",
            file.display()
        );
    }
    Ok(())
}

/// Rows of a tensor's first dimension in `count` equal parts; `count` must divide them.
pub(crate) fn parts(tensor: &Tensor, count: usize) -> Result<Vec<Tensor>> {
    let rows = tensor.size().first().copied().unwrap_or(0);
    let (count, rest) = (i64::try_from(count)?, rows % i64::try_from(count)?);
    if rest != 0 {
        bail!("--batch {rows} does not divide among {count} workers");
    }
    Ok(tensor.f_chunk(count, 0)?)
}

/// Square pictures of RGB bytes as `[count, 3, side, side]` in -1..1.
pub(crate) fn pictures(rgb: &[Vec<u8>], side: i64) -> Result<Tensor> {
    let bytes = rgb.concat();
    let shape = [rgb.len() as i64, side, side, 3];
    let bytes = Tensor::f_from_data_size(&bytes, &shape, Kind::Uint8)?.f_permute([0, 3, 1, 2])?;
    Ok(bytes.f_to_kind(Kind::Float)?.f_div_scalar(127.5)?.f_sub_scalar(1.0)?.f_contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Tensors {
        let mut tensors = Tensors::default();
        tensors.named.insert("a.weight".into(), Tensor::from_slice(&[1.0f32, 2.0]));
        tensors.named.insert("b.weight".into(), Tensor::from_slice(&[3.0f32]));
        tensors
    }

    fn run(trained: &mut Trained, steps: u32) {
        for _ in 0..steps {
            let gradients: Vec<Tensor> =
                trained.parameters.named.values().map(|p| p.detach() * 2.0).collect();
            trained.learn(gradients, (0.1, 0.9), 2).unwrap();
        }
    }

    #[test]
    fn a_stopped_training_goes_on_as_if_it_had_not_been_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        let mut whole = Trained::open(&start(), &["a."], &folder.path().join("other")).unwrap();
        run(&mut whole, 10);
        let mut first = Trained::open(&start(), &["a."], &file).unwrap();
        run(&mut first, 4);
        first.save().unwrap();
        let mut second = Trained::open(&start(), &["a."], &file).unwrap();
        run(&mut second, 6);
        assert_eq!(second.step, 10);
        assert!(second.parameters.named["a.weight"].equal(&whole.parameters.named["a.weight"]));
        assert!(second.average.named["a.weight"].equal(&whole.average.named["a.weight"]));
        assert!(second.checkpoint(&start()).named["b.weight"].equal(&start().named["b.weight"]));
    }

    #[test]
    fn nothing_begins_anew_over_a_training_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        refuse_fresh(true, &file).unwrap();
        Trained::open(&start(), &["a."], &file).unwrap().save().unwrap();
        refuse_fresh(false, &file).unwrap();
        let error = refuse_fresh(true, &file).err().unwrap().to_string();
        assert!(error.contains("--state") && error.contains("state.safetensors"), "{error}");
    }

    #[test]
    fn a_state_of_other_tensors_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        Trained::open(&start(), &["a."], &file).unwrap().save().unwrap();
        let error = Trained::open(&start(), &["b."], &file).err().unwrap();
        assert!(format!("{error:#}").contains("b.weight"), "{error:#}");
    }

    #[test]
    fn a_state_of_more_than_learns_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        Trained::open(&start(), &["a.", "b."], &file).unwrap().save().unwrap();
        let error = Trained::open(&start(), &["a."], &file).err().unwrap();
        let error = format!("{error:#}");
        assert!(error.contains("average.b.weight") && error.contains("options"), "{error}");
    }
}
