//! The way from a guest to the tensors of a step: the guest runs on threads of step hooks, its tensors stay on the device's
//! thread, which carries out what the guest asks for while it waits for the guest to end.

use crate::error::HookError;
use gesso_core::step_hook::{TensorAnswer, TensorError, TensorId, TensorOp, Tensors};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A guest's tensor.
#[derive(Debug, Clone, Copy)]
#[expect(unreachable_pub, reason = "the bindings' generator re-exports it as public")]
pub struct TensorHandle(pub(crate) TensorId);

/// What the guest's side says.
enum Said {
    Asked(TensorOp, oneshot::Sender<Result<TensorAnswer, TensorError>>),
    AreFinite(oneshot::Sender<Result<bool, TensorError>>),
    Ended(Result<(), HookError>),
}

/// The guest's end.
#[derive(Clone)]
pub(crate) struct StepPort(Sender<Said>);

/// The device thread is through with this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLate;

impl StepPort {
    /// Has an operation carried out.
    pub(crate) async fn ask(&self, op: TensorOp) -> Result<Result<TensorAnswer, TensorError>, TooLate> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Said::Asked(op, reply)).map_err(|_| TooLate)?;
        answer.await.map_err(|_| TooLate)
    }

    /// Whether what the guest leaves holds numbers only.
    pub(crate) async fn are_finite(&self) -> Result<Result<bool, TensorError>, TooLate> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Said::AreFinite(reply)).map_err(|_| TooLate)?;
        answer.await.map_err(|_| TooLate)
    }

    /// As [`Self::ask`], for what nobody waits for.
    pub(crate) fn tell(&self, op: TensorOp) {
        let (reply, _) = oneshot::channel();
        // Nobody hears it once the call is over, and then nothing is left to change.
        drop(self.0.send(Said::Asked(op, reply)));
    }

    pub(crate) fn end(&self, result: Result<(), HookError>) {
        drop(self.0.send(Said::Ended(result)));
    }
}

/// The device thread's end.
pub(crate) struct StepService(Receiver<Said>);

pub(crate) fn pair() -> (StepPort, StepService) {
    let (sender, receiver) = mpsc::channel();
    (StepPort(sender), StepService(receiver))
}

impl StepService {
    /// Serves the guest until it has ended; `None` where it has not after `patience`.
    pub(crate) fn serve(
        self,
        tensors: &mut dyn Tensors,
        patience: Duration,
    ) -> Option<Result<(), HookError>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                // A guest that has ended meanwhile hears no answer.
                Ok(Said::Asked(op, reply)) => drop(reply.send(tensors.carry_out(op))),
                Ok(Said::AreFinite(reply)) => drop(reply.send(tensors.are_finite())),
                Ok(Said::Ended(result)) => return Some(result),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Err(HookError::Overloaded)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers everything with `Done`.
    struct Agreeable;

    impl Tensors for Agreeable {
        fn carry_out(&mut self, _: TensorOp) -> Result<TensorAnswer, TensorError> {
            Ok(TensorAnswer::Done)
        }

        fn are_finite(&mut self) -> Result<bool, TensorError> {
            Ok(false)
        }
    }

    #[test]
    fn serves_until_the_guest_has_ended() {
        let (port, service) = pair();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let guest = runtime.spawn(async move {
            let answer = port.ask(TensorOp::Duplicate(TensorId::LATENT)).await;
            let finite = port.are_finite().await;
            port.end(Ok(()));
            (answer, finite)
        });
        assert!(matches!(service.serve(&mut Agreeable, Duration::from_secs(20)), Some(Ok(()))));
        let answers = runtime.block_on(guest).unwrap();
        assert_eq!(answers, (Ok(Ok(TensorAnswer::Done)), Ok(Ok(false))));
    }

    #[test]
    fn gives_up_on_a_guest_that_does_not_end_and_tells_it() {
        let (port, service) = pair();
        assert!(service.serve(&mut Agreeable, Duration::from_millis(5)).is_none());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(port.ask(TensorOp::Duplicate(TensorId::LATENT)));
        assert_eq!(answer, Err(TooLate));
    }
}
