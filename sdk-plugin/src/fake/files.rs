//! `gesso:plugin/folders` and `gesso:plugin/assets` of a made-up host. What the host has is what is granted.

use super::Named;
use crate::bindings::request_hook::gesso::plugin::types::Fault;

fn names(files: &Named) -> Vec<String> {
    files.keys().cloned().collect()
}

pub(crate) mod folders {
    use super::super::{Named, State, ask};
    use super::{Fault, names};

    const FILE_BYTES_MAX: usize = 1 << 20;

    pub(crate) fn list(folder: &str) -> Result<Vec<String>, Fault> {
        ask(|state| granted(state, folder).map(names))
    }

    pub(crate) fn read(folder: &str, path: &str) -> Result<Vec<u8>, Fault> {
        ask(|state| match granted(state, folder)?.get(path) {
            Some(bytes) if bytes.len() > FILE_BYTES_MAX => {
                Err(Fault::LimitExceeded(format!("{path} has more than {FILE_BYTES_MAX} bytes")))
            }
            Some(bytes) => Ok(bytes.clone()),
            None => Err(Fault::InvalidInput(format!("there is no file `{path}` in folder `{folder}`"))),
        })
    }

    fn granted<'a>(state: &'a State, folder: &str) -> Result<&'a Named, Fault> {
        let found = state.folders.get(folder);
        found.ok_or_else(|| Fault::NotPermitted(format!("the folder `{folder}` is not granted")))
    }
}

pub(crate) mod assets {
    use super::super::ask;
    use super::{Fault, names};

    pub(crate) fn list() -> Vec<String> {
        ask(|state| names(&state.assets))
    }

    pub(crate) fn read(name: &str) -> Result<Vec<u8>, Fault> {
        let missing = || Fault::InvalidInput(format!("the plugin carries no file named `{name}`"));
        ask(|state| state.assets.get(name).cloned().ok_or_else(missing))
    }
}
