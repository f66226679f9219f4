//! Gradients on several threads: networks this small leave most of a second core idle within one operator, so each
//! thread takes a part of the batch through forward and backward with operators of one thread.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use gesso_torch::{Networks, Tensors};
use tch::{Kind, TchError, Tensor};

/// What a stage minimises: the loss of the networks on a part of the batch.
pub(crate) type Loss<B> = fn(&Networks, &B) -> Result<Tensor, TchError>;

/// The loss of a part and the gradients of the trained tensors, in the order of their names.
type Part = Result<(f64, Vec<Tensor>)>;

struct Worker<B> {
    tasks: mpsc::Sender<(Tensors, B)>,
    results: mpsc::Receiver<Part>,
    _thread: JoinHandle<()>,
}

/// Threads that hold a copy of the networks each. They end when this goes.
pub(crate) struct Workers<B>(Vec<Worker<B>>);

impl<B: Send + 'static> Workers<B> {
    /// Loads the checkpoint on each of `count` threads; the UNet computes in `kind`.
    pub(crate) fn start(count: usize, checkpoint: &Path, kind: Kind, loss: Loss<B>) -> Result<Self> {
        if count == 0 {
            bail!("--workers is 0; at least one has to work");
        }
        let start = |index: usize| {
            let (tasks, inbox) = mpsc::channel::<(Tensors, B)>();
            let (answer, results) = mpsc::channel();
            let path = checkpoint.to_owned();
            let run = move || {
                let networks = Networks::load(&path, kind);
                for (parameters, batch) in inbox {
                    let part = match &networks {
                        Ok(networks) => gradients(networks, &parameters, &batch, loss),
                        Err(error) => Err(anyhow::anyhow!("{error}")),
                    };
                    if answer.send(part).is_err() {
                        break;
                    }
                }
            };
            let name = format!("worker-{index}");
            let thread = std::thread::Builder::new().name(name).spawn(run)?;
            Ok(Worker { tasks, results, _thread: thread })
        };
        Ok(Self((0..count).map(start).collect::<Result<_>>()?))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Mean loss and mean gradients over `parts` of equal size, one for each worker.
    pub(crate) fn run(&self, parameters: &Tensors, parts: Vec<B>) -> Part {
        if parts.len() != self.0.len() {
            bail!("{} parts for {} workers", parts.len(), self.0.len());
        }
        for (worker, part) in self.0.iter().zip(parts) {
            worker.tasks.send((parameters.share(), part)).ok().context("a worker has ended")?;
        }
        let mut sum: Option<(f64, Vec<Tensor>)> = None;
        for worker in &self.0 {
            let (loss, gradients) = worker.results.recv().context("a worker has ended")??;
            sum = Some(match sum {
                None => (loss, gradients),
                Some((total, mut totals)) => {
                    for (total, gradient) in totals.iter_mut().zip(&gradients) {
                        let _ = total.f_add_(gradient)?;
                    }
                    (total + loss, totals)
                }
            });
        }
        let (loss, mut gradients) = sum.context("no workers")?;
        let part = 1.0 / self.0.len() as f64;
        for gradient in &mut gradients {
            let _ = gradient.f_mul_scalar_(part)?;
        }
        Ok((loss * part, gradients))
    }
}

fn gradients<B>(networks: &Networks, parameters: &Tensors, batch: &B, loss: Loss<B>) -> Part {
    let networks = networks.with(parameters)?;
    let loss = loss(&networks, batch)?;
    let leaves: Vec<&Tensor> = parameters.named.values().collect();
    let gradients = Tensor::f_run_backward(&[&loss], &leaves, false, false)?;
    Ok((f64::try_from(loss)?, gradients))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_to_work_is_refused() {
        let loss: Loss<Tensor> = |_, batch| Ok(batch.shallow_clone());
        let error = Workers::start(0, Path::new("none"), Kind::Float, loss).err().unwrap();
        assert!(error.to_string().contains("--workers"), "{error}");
    }
}
