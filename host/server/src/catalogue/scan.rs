//! Lists the model files in a folder. Reads names only; symbolic links are followed, because people keep large files
//! elsewhere and the folder is the operator's own.

use std::io;
use std::path::{Path, PathBuf};

use super::kind::Kind;

/// Folders deeper than this are not looked into; it ends circles of links too.
const DEPTH_MAX: u32 = 6;
/// A folder with this file is one checkpoint in diffusers' layout.
const FOLDER_MARK: &str = "model_index.json";

/// A model file whose content has not been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// File name without folder and extension.
    pub(crate) stem: String,
    pub(crate) path: PathBuf,
    /// With extension, below the kind's folder, with `/` between folders.
    pub(crate) file_name: String,
}

/// Every file of a kind, by name.
pub(crate) fn scan(models: &Path, kind: Kind) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(models)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        let folder_kind = if path.is_dir() { Kind::of_folder(&name) } else { None };
        entries.push((name, path, folder_kind));
    }
    for (_, path, _) in entries.iter().filter(|(_, _, folder_kind)| *folder_kind == Some(kind)) {
        walk(path, "", kind, 1, &mut found);
    }
    if kind == Kind::Checkpoint {
        // Web UIs have a folder for each kind of network, also for kinds that nothing here draws with (`LDSR`, `text_encoder`):
        // where checkpoints lie in theirs, what lies in a folder of another name is none.
        let depth = if found.is_empty() { 0 } else { DEPTH_MAX };
        for (name, path, _) in entries.into_iter().filter(|(_, _, folder_kind)| folder_kind.is_none()) {
            visit(path, name.clone(), &name, kind, depth, &mut found);
        }
    }
    // Web UIs keep embeddings beside their models folder.
    if kind == Kind::Embedding
        && let Some(beside) = models.parent().map(|parent| parent.join("embeddings"))
        && beside.is_dir()
    {
        walk(&beside, "", kind, 1, &mut found);
    }
    found.sort_by(|a, b| a.file_name.cmp(&b.file_name));
    Ok(found)
}

fn walk(folder: &Path, prefix: &str, kind: Kind, depth: u32, found: &mut Vec<Found>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "skipping an unreadable folder");
            return;
        }
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        visit(entry.path(), format!("{prefix}{name}"), &name, kind, depth, found);
    }
}

fn visit(path: PathBuf, file_name: String, name: &str, kind: Kind, depth: u32, found: &mut Vec<Found>) {
    if name.starts_with('.') {
        return;
    }
    if path.is_dir() {
        if kind == Kind::Checkpoint && path.join(FOLDER_MARK).is_file() {
            found.push(Found { stem: name.to_owned(), path, file_name });
        } else if depth < DEPTH_MAX {
            walk(&path, &format!("{file_name}/"), kind, depth + 1, found);
        }
        return;
    }
    let Some((stem, extension)) = name.rsplit_once('.') else { return };
    // `name.vae.safetensors` beside a checkpoint is its VAE.
    let is_vae = stem.to_ascii_lowercase().ends_with(".vae");
    let fits = kind.extensions().iter().any(|known| known.eq_ignore_ascii_case(extension));
    if fits && !stem.is_empty() && !(is_vae && kind == Kind::Checkpoint) {
        found.push(Found { stem: stem.to_owned(), path, file_name });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(models: &Path, kind: Kind) -> Vec<String> {
        scan(models, kind).unwrap().into_iter().map(|found| found.file_name).collect()
    }

    #[test]
    fn a_web_uis_models_folder_is_read_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join("models");
        for file in [
            "models/loose.safetensors",
            "models/loose-whole/model_index.json",
            "models/LDSR/model.ckpt",
            "models/text_encoder/t5xxl.safetensors",
            "models/Stable-diffusion/sub/a.ckpt",
            "models/Stable-diffusion/a.vae.safetensors",
            "models/Stable-diffusion/.hidden.ckpt",
            "models/Stable-diffusion/notes.txt",
            "models/Stable-diffusion/whole/model_index.json",
            "models/Stable-diffusion/whole/unet/diffusion_pytorch_model.safetensors",
            "models/lora/style.safetensors",
            "models/VAE/bright.pt",
            "models/ESRGAN/4x.pth",
            "models/Codeformer/codeformer-v0.1.0.pth",
            "models/GFPGAN/GFPGANv1.4.pth",
            "models/GFPGAN/parsing_parsenet.pth",
            "embeddings/easy.pt",
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let checkpoints = ["loose-whole", "loose.safetensors", "sub/a.ckpt", "whole"];
        assert_eq!(names(&models, Kind::Checkpoint), checkpoints);
        assert_eq!(names(&models, Kind::Lora), ["style.safetensors"]);
        assert_eq!(names(&models, Kind::Vae), ["bright.pt"]);
        assert_eq!(names(&models, Kind::Upscaler), ["4x.pth"]);
        assert_eq!(names(&models, Kind::Embedding), ["easy.pt"]);
        let faces = ["GFPGANv1.4.pth", "codeformer-v0.1.0.pth", "parsing_parsenet.pth"];
        assert_eq!(names(&models, Kind::Face), faces);
        assert_eq!(names(&models, Kind::Control), Vec::<String>::new());
    }

    #[test]
    fn checkpoints_lie_in_folders_of_any_name_unless_some_lie_in_their_own() {
        let models = tempfile::tempdir().unwrap();
        std::fs::create_dir(models.path().join("mine")).unwrap();
        std::fs::write(models.path().join("mine/a.safetensors"), b"").unwrap();
        assert_eq!(names(models.path(), Kind::Checkpoint), ["mine/a.safetensors"]);
        let own = models.path().join("stable-diffusion");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("Put checkpoints here.txt"), b"").unwrap();
        assert_eq!(names(models.path(), Kind::Checkpoint), ["mine/a.safetensors"], "it is empty");
        std::fs::write(own.join("b.safetensors"), b"").unwrap();
        assert_eq!(names(models.path(), Kind::Checkpoint), ["b.safetensors"]);
    }

    #[test]
    fn circles_of_links_end() {
        let models = tempfile::tempdir().unwrap();
        std::fs::write(models.path().join("a.safetensors"), b"").unwrap();
        std::os::unix::fs::symlink(models.path(), models.path().join("again")).unwrap();
        assert!(names(models.path(), Kind::Checkpoint).len() <= DEPTH_MAX as usize + 2);
    }
}
