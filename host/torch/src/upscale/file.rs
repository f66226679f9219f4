//! Opens the weights file of a picture network and finds where in it the network is. Called by the upscalers and
//! the face restorers; knows no network.

use std::path::Path;

use crate::error::Problem;
use crate::outline::Outline;
use crate::stored::Catalogue;
use crate::tensor_file;
use crate::tensors::Tensors;
use crate::upscale::error::PictureError;
use crate::weights::Weights;

/// What training tools put around a network, the best first: averaged weights before the last step's, either
/// before a bare network.
const WRAPPERS: [&str; 10] = [
    "params_ema.",
    "params-ema.",
    "params.",
    "model_state_dict.",
    "state_dict.",
    "model.",
    "net.",
    "module.",
    "netG.",
    "",
];
/// What may stand inside a wrapper, from training on several devices or in a pair of networks.
const INNER: [&str; 3] = ["", "module.", "netG."];

/// A weights file that is open.
pub(crate) struct WeightsFile(Catalogue);

impl WeightsFile {
    /// # Errors
    /// [`PictureError::File`] when it cannot be read or is no weights file.
    pub(crate) fn open(path: &Path) -> Result<Self, PictureError> {
        let refuse =
            |problem: Problem| PictureError::File { path: path.to_owned(), why: problem.to_string() };
        tensor_file::open(path).map(Self).map_err(refuse)
    }

    pub(crate) fn outline(&self) -> Outline {
        self.0.outline()
    }

    /// Reads the tensors whose names begin with `prefix` and closes the file.
    pub(crate) fn read(mut self, prefix: &str) -> Result<Tensors, Problem> {
        self.0.tensors.retain(|name, _| name.starts_with(prefix));
        self.0.read(|_| None)
    }
}

/// The prefix under which every one of `markers` is in the file.
pub(crate) fn find_network(outline: &Outline, markers: &[&str]) -> Option<String> {
    let prefixes =
        WRAPPERS.iter().flat_map(|wrapper| INNER.iter().map(move |inner| format!("{wrapper}{inner}")));
    prefixes.into_iter().find(|prefix| markers.iter().all(|marker| outline.has(&format!("{prefix}{marker}"))))
}

/// Refuses a network that has more tensors than were taken: it is another one. Names with one of `ignored` in
/// them are of no use to anyone.
pub(crate) fn refuse_left_over(
    tensors: &Tensors,
    weights: Weights<'_>,
    ignored: &[&str],
) -> Result<(), Problem> {
    let taken = weights.into_taken();
    let unused = |name: &&String| !taken.contains(*name) && !ignored.iter().any(|part| name.contains(part));
    tensors.named.keys().find(unused).map_or(Ok(()), |name| Err(Problem::Unknown(name.clone())))
}

/// How many of `key(0)`, `key(1)`, … are in the file before the first that is not.
pub(crate) fn count(outline: &Outline, key: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|index| outline.has(&key(*index))).count()
}

/// An outline for tests: tensors of f32 with these names and shapes.
#[cfg(test)]
pub(crate) fn outline_of(shapes: impl Iterator<Item = (String, Vec<i64>)>) -> Outline {
    let form = |shape| crate::outline::Form { kind: Some(tch::Kind::Float), shape };
    Outline { tensors: shapes.map(|(name, shape)| (name, form(shape))).collect(), ..Outline::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(keys: &[&str]) -> Outline {
        outline_of(keys.iter().map(|key| ((*key).to_owned(), vec![1])))
    }

    #[test]
    fn averaged_weights_win_over_the_last_steps() {
        let both = outline(&["params.conv.weight", "params_ema.conv.weight"]);
        assert_eq!(find_network(&both, &["conv.weight"]).unwrap(), "params_ema.");
    }

    #[test]
    fn a_network_is_found_bare_wrapped_and_wrapped_twice() {
        for prefix in ["", "params.", "state_dict.", "state_dict.module.", "module."] {
            let file = outline(&[&format!("{prefix}a"), &format!("{prefix}b")]);
            assert_eq!(find_network(&file, &["a", "b"]).unwrap(), prefix);
        }
        assert_eq!(find_network(&outline(&["a", "params.b"]), &["a", "b"]), None);
    }

    #[test]
    fn counting_stops_at_the_first_gap() {
        assert_eq!(count(&outline(&["x0", "x1", "x3"]), |index| format!("x{index}")), 2);
    }
}
