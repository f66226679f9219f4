//! What tells one state of a model's files from another without reading them. Asked when a file is found, and again when it is
//! opened: a job waits in between.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use gesso_engine::backend::{BackendError, ModelFile};

use crate::error::{LoadError, Problem};
use crate::failure::load_error;
use crate::upscale::PictureError;

/// What the files of a folder in diffusers' layout end in that say what is drawn with it.
const EXTENSIONS: [&str; 3] = ["safetensors", "bin", "json"];

/// Size and time of change of a file; of a folder in diffusers' layout those of each of its weight files under their names.
///
/// # Errors
/// That of the file system.
pub fn version_of(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_dir() {
        return state(&metadata);
    }
    let named = |file: &PathBuf| -> io::Result<String> {
        let name = file.strip_prefix(path).unwrap_or(file);
        Ok(format!("{} {}", name.display(), state(&std::fs::metadata(file)?)?))
    };
    let states = weight_files(path)?.iter().map(named).collect::<io::Result<Vec<_>>>()?;
    Ok(states.join("\n"))
}

/// The file itself, or the weights of a folder in diffusers' layout with what describes them, by name.
///
/// # Errors
/// That of the file system.
pub fn weight_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for part in std::fs::read_dir(path)? {
        let part = part?.path();
        if !part.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(part)? {
            let file = file?.path();
            let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            // Whoever opens a pipe waits for somebody to write into it.
            if EXTENSIONS.contains(&extension) && file.is_file() {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn state(metadata: &Metadata) -> io::Result<String> {
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{}-{}", metadata.len(), modified.as_nanos()))
}

/// Asked once the file is open: what is put in its place from then on does no harm.
///
/// # Errors
/// [`Problem::Replaced`] where it is not the file any more that was found.
pub(crate) fn check_version(file: &ModelFile) -> Result<(), LoadError> {
    if file.version.is_empty() {
        return Ok(());
    }
    match version_of(&file.path) {
        Ok(version) if version == file.version => Ok(()),
        Ok(_) => Err(Problem::Replaced.of(&file.path)),
        Err(error) => Err(Problem::from(error).of(&file.path)),
    }
}

/// An error that can be that of a file.
pub(crate) trait OfFile {
    fn of_file(error: LoadError) -> Self;
}

impl OfFile for BackendError {
    fn of_file(error: LoadError) -> Self {
        load_error(error)
    }
}

impl OfFile for PictureError {
    fn of_file(LoadError { path, problem }: LoadError) -> Self {
        Self::File { path, why: problem.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// Writes a file that was changed so many seconds after 1970.
    fn write(path: &Path, text: &str, seconds: u64) {
        fs::write(path, text).unwrap();
        let modified = UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    }

    #[test]
    fn a_folder_is_another_when_any_of_its_files_is() {
        let folder = tempfile::tempdir().unwrap();
        let (unet, vae) = (folder.path().join("unet"), folder.path().join("vae"));
        [&unet, &vae].into_iter().for_each(|part| fs::create_dir(part).unwrap());
        let weights = unet.join("model.safetensors");
        write(&weights, "abc", 5);
        write(&vae.join("model.safetensors"), "abc", 9);
        let version = || version_of(folder.path()).unwrap();
        let first = version();
        assert_eq!(version(), first);
        // As long as before, and older than another.
        write(&weights, "xyz", 6);
        let second = version();
        assert_ne!(second, first);
        write(&weights, "xyz", 9);
        write(&vae.join("model.safetensors"), "abc", 6);
        assert_ne!(version(), second, "the same times the other way round");
        let third = version();
        fs::rename(&weights, unet.join("model.fp16.safetensors")).unwrap();
        assert_ne!(version(), third);
    }
}
