//! Drawing for scripts: what the server offers them. The server counts what a script spends; here a drawing is a handle
//! that ends with the script.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use gesso_core::pixels::Pixels;
use tokio::sync::oneshot;

use crate::budgets::DrawingBudget;
use crate::limits::PictureAccount;
use crate::own_time::UnderWay;

/// Draws on behalf of calls that may.
pub trait Inference: Send + Sync {
    /// The same for one plugin, whose drawings are counted as `most` says.
    fn for_plugin(self: Arc<Self>, plugin: &str, most: DrawingBudget) -> Arc<dyn Inference>;

    /// Begins a drawing and comes back at once; what comes of it, or is wrong with it, goes to `outcome`. `params` is a request
    /// body; with pictures it is image to image.
    fn generate(
        &self,
        params: String,
        init_images: Vec<Pixels>,
        mask: Option<Pixels>,
        outcome: Outcome,
    ) -> Job;

    /// The picture, each side times `factor`.
    fn upscale(&self, picture: Pixels, upscaler: String, factor: f64) -> InferenceAnswer<Pixels>;

    /// Words for the picture, by the model of that name.
    fn interrogate(&self, picture: Pixels, model: String) -> InferenceAnswer<String>;
}

/// Work other than a drawing, under way; dropping it ends it.
pub type InferenceAnswer<T> = Pin<Box<dyn Future<Output = Result<T, InferenceError>> + Send>>;

/// What came of a drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    pub images: Vec<Pixels>,
    /// One for each picture.
    pub infotexts: Vec<String>,
    /// The web UI's `info`, a JSON object.
    pub info: String,
}

/// Why there is no drawing, by what the script can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferenceError {
    /// The request is wrong; the text is for the client.
    #[error("{0}")]
    Invalid(String),
    /// The script has spent what it may.
    #[error("{0}")]
    Limit(String),
    #[error("the drawing was cancelled")]
    Cancelled,
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Failed(String),
}

/// A drawing under way, as whoever draws it offers it; dropping it cancels it.
pub struct Job {
    /// The share that is done.
    pub(crate) progress: Box<dyn Fn() -> f32 + Send>,
    pub(crate) cancel: Box<dyn Fn() + Send>,
}

impl Job {
    /// `progress` is the share that is done.
    pub fn new(progress: impl Fn() -> f32 + Send + 'static, cancel: impl Fn() + Send + 'static) -> Self {
        Self { progress: Box::new(progress), cancel: Box::new(cancel) }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        (self.cancel)();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

/// Where the result of a drawing goes. The drawing is under way until it is used or dropped.
#[derive(Debug)]
pub struct Outcome {
    sender: oneshot::Sender<Result<Kept, InferenceError>>,
    account: Arc<PictureAccount>,
    _under_way: UnderWay,
}

impl Outcome {
    /// One for a drawing of the call with that account, and where its result will be.
    pub(crate) fn new(account: Arc<PictureAccount>, under_way: UnderWay) -> (Self, ResultToCome) {
        let (sender, result) = oneshot::channel();
        (Self { sender, account, _under_way: under_way }, result)
    }

    /// Ends the drawing. Nobody hears of it where the guest has dropped the job. A drawing that does not fit beside the other
    /// pictures of the call is dropped, and the guest is told.
    pub fn send(self, result: Result<Drawn, InferenceError>) {
        let kept = result.and_then(|drawn| Kept::new(drawn, &self.account));
        // Nobody to tell.
        let _ = self.sender.send(kept);
    }
}

pub(crate) type ResultToCome = oneshot::Receiver<Result<Kept, InferenceError>>;

/// A finished drawing, on the account of the call's pictures until the guest takes or drops it.
#[derive(Debug)]
pub(crate) struct Kept {
    drawn: Drawn,
    account: Arc<PictureAccount>,
    /// On the account.
    bytes: u64,
}

impl Kept {
    fn new(drawn: Drawn, account: &Arc<PictureAccount>) -> Result<Self, InferenceError> {
        let pictures: usize = drawn.images.iter().map(|picture| picture.data.len()).sum();
        let texts: usize = drawn.infotexts.iter().chain([&drawn.info]).map(String::len).sum();
        let bytes = (pictures + texts) as u64;
        if account.take(bytes) {
            return Ok(Self { drawn, account: account.clone(), bytes });
        }
        Err(InferenceError::Limit(format!(
            "the call's pictures may take {} bytes together, finished drawings that it has not taken among them; take them \
             sooner, or drop pictures before",
            account.most
        )))
    }

    /// What was drawn, and its bytes, which stay on the account: the caller gives them back.
    pub(crate) fn take(mut self) -> (Drawn, u64) {
        let nothing = Drawn { images: Vec::new(), infotexts: Vec::new(), info: String::new() };
        (std::mem::replace(&mut self.drawn, nothing), std::mem::take(&mut self.bytes))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

/// A job as a guest holds it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the bindings' generator re-exports it as public")]
pub struct JobUnderWay {
    pub(crate) job: Job,
    pub(crate) result: ResultToCome,
    /// What it was given, on the account of the call's pictures while the guest holds the job.
    pub(crate) given_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_time::OwnTime;
    use gesso_core::pixels::PixelFormat;

    fn drawn(bytes: u32) -> Drawn {
        let picture = Pixels::new(bytes, 1, PixelFormat::Gray8, vec![0; bytes as usize]).unwrap();
        Drawn { images: vec![picture], infotexts: vec!["ab".into()], info: "{}".into() }
    }

    #[test]
    fn a_finished_drawing_is_on_the_account_until_it_is_taken_or_dropped() {
        let (account, own) = (Arc::new(PictureAccount::new(1000)), Arc::<OwnTime>::default());
        let begin = || Outcome::new(account.clone(), own.begin());
        let [(first, one), (second, mut two), (third, mut three)] = [begin(), begin(), begin()];
        first.send(Ok(drawn(596)));
        assert_eq!(account.used(), 600);
        second.send(Ok(drawn(596)));
        let Ok(Err(InferenceError::Limit(says))) = two.try_recv() else { panic!("it was let through") };
        assert!(says.contains("may take 1000 bytes"), "{says}");
        drop(one);
        assert_eq!(account.used(), 0);

        third.send(Ok(drawn(596)));
        let (taken, bytes) = three.try_recv().unwrap().unwrap().take();
        assert_eq!((taken, bytes, account.used()), (drawn(596), 600, 600), "it is the guest's now");

        // A job that nobody waits for any more leaves nothing behind.
        let (late, gone) = begin();
        drop(gone);
        late.send(Ok(drawn(96)));
        assert_eq!(account.used(), 600);
    }
}
