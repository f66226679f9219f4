//! `gesso:plugin/folders`: granted folders, read only. The guest's path goes to the granted folder as it is, whose
//! implementation keeps it inside; nothing is joined here.

use super::CallState;
use super::gesso::plugin::folders::Host;
use super::gesso::plugin::types::Fault;
use std::io;

const MAX_FILES: usize = 10_000;
const MAX_FILE_BYTES: usize = 1 << 20;
const MAX_PATH_BYTES: usize = 1024;

impl Host for CallState {
    fn list(&mut self, folder: String) -> wasmtime::Result<Result<Vec<String>, Fault>> {
        let Some(granted) = self.capabilities.folders.get(&folder).cloned() else {
            return Ok(Err(not_granted(&folder)));
        };
        // Disk reads on the plugins' own threads: the call waits for them anyway, and only plugins share them.
        let listed = granted.list();
        Ok(listed.map_err(|error| fault(&folder, "", &error)).and_then(|mut files| {
            if files.len() > MAX_FILES {
                return Err(Fault::LimitExceeded(format!(
                    "folder `{folder}` has more than {MAX_FILES} files"
                )));
            }
            files.sort_unstable();
            Ok(files)
        }))
    }

    fn read(&mut self, folder: String, path: String) -> wasmtime::Result<Result<Vec<u8>, Fault>> {
        let Some(granted) = self.capabilities.folders.get(&folder).cloned() else {
            return Ok(Err(not_granted(&folder)));
        };
        if path.is_empty() || path.len() > MAX_PATH_BYTES {
            return Ok(Err(Fault::InvalidInput(format!("a path has 1 to {MAX_PATH_BYTES} bytes"))));
        }
        let read = granted.read(&path, MAX_FILE_BYTES);
        Ok(match read {
            Ok(bytes) if bytes.len() <= MAX_FILE_BYTES => Ok(bytes),
            Ok(_) => Err(Fault::LimitExceeded(format!("{path} has more than {MAX_FILE_BYTES} bytes"))),
            Err(error) => Err(fault(&folder, &path, &error)),
        })
    }
}

fn not_granted(folder: &str) -> Fault {
    Fault::NotPermitted(format!("the folder `{}` is not granted", crate::log::tidy(folder, 64)))
}

fn fault(folder: &str, path: &str, error: &io::Error) -> Fault {
    let path = crate::log::tidy(path, 200);
    match error.kind() {
        io::ErrorKind::NotFound => {
            Fault::InvalidInput(format!("there is no file `{path}` in folder `{folder}`"))
        }
        io::ErrorKind::PermissionDenied => {
            Fault::NotPermitted(format!("`{path}` may not be read from folder `{folder}`"))
        }
        io::ErrorKind::FileTooLarge => {
            Fault::LimitExceeded(format!("`{path}` has more than {MAX_FILE_BYTES} bytes"))
        }
        io::ErrorKind::InvalidInput => {
            Fault::InvalidInput(format!("`{path}` is not a path inside `{folder}`"))
        }
        // The text of other errors can hold host paths; the guest has no use for them.
        kind => Fault::Unavailable(format!("folder `{folder}`: {kind}")),
    }
}
