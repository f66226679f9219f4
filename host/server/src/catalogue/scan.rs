//! Lists the model files in a folder. Reads names only; symbolic links are followed, because people keep large files
//! elsewhere and the folder is the operator's own.

use std::fs::DirEntry;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::kind::Kind;

/// Folders deeper than this are not looked into.
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

/// Every file of a kind, by name; those of one name by their place, so that it is the same one that is found first each time.
pub(crate) fn scan(models: &Path, kind: Kind) -> io::Result<Vec<Found>> {
    // Checkpoints lie in this folder itself. Of another kind the folder may be a link to it, where all files lie together.
    let inside = if kind == Kind::Checkpoint { vec![identity(models)?] } else { Vec::new() };
    let mut scan = Scan { kind, inside, found: Vec::new() };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(models)? {
        let Some(entry) = Entry::of(&entry?) else { continue };
        let folder_kind = if entry.is_folder { Kind::of_folder(&entry.name) } else { None };
        entries.push((entry, folder_kind));
    }
    for (folder, _) in entries.iter().filter(|(_, folder_kind)| *folder_kind == Some(kind)) {
        scan.walk(&folder.path, "", 1);
    }
    if kind == Kind::Checkpoint {
        // Web UIs have a folder for each kind of network, also for kinds that nothing here draws with (`LDSR`, `text_encoder`):
        // where checkpoints lie in theirs, what lies in a folder of another name is none.
        let depth = if scan.found.is_empty() { 0 } else { DEPTH_MAX };
        for (entry, _) in entries.into_iter().filter(|(_, folder_kind)| folder_kind.is_none()) {
            let file_name = entry.name.clone();
            scan.visit(entry, file_name, depth);
        }
    }
    // Web UIs keep embeddings beside their models folder.
    if kind == Kind::Embedding
        && let Some(beside) = models.parent().map(|parent| parent.join("embeddings"))
        && beside.is_dir()
    {
        scan.walk(&beside, "", 1);
    }
    let mut found = scan.found;
    found.sort_by(|a, b| (&a.file_name, &a.path).cmp(&(&b.file_name, &b.path)));
    Ok(found)
}

/// A folder or a file, behind its links.
struct Entry {
    name: String,
    path: PathBuf,
    is_folder: bool,
}

impl Entry {
    /// `None` for a name that no request can say, for a link that leads nowhere, and for what is neither a folder nor a file:
    /// whoever opens a pipe waits for somebody to write into it.
    fn of(entry: &DirEntry) -> Option<Self> {
        let name = entry.file_name().into_string().ok()?;
        let (path, own) = (entry.path(), entry.file_type().ok()?);
        let kind = if own.is_symlink() { std::fs::metadata(&path).ok()?.file_type() } else { own };
        (kind.is_dir() || kind.is_file()).then(|| Self { name, path, is_folder: kind.is_dir() })
    }
}

/// What tells a folder from every other, by whatever links it is reached: its device and inode.
fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(folder).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// A scan under way.
struct Scan {
    kind: Kind,
    /// The folders that it is inside of. A link back to one of them leads to nothing new, and several such links would be gone
    /// through in every order.
    inside: Vec<(u64, u64)>,
    found: Vec<Found>,
}

impl Scan {
    fn walk(&mut self, folder: &Path, prefix: &str, depth: u32) {
        let entered = identity(folder).and_then(|own| Ok((own, std::fs::read_dir(folder)?)));
        let (own, entries) = match entered {
            Ok(entered) => entered,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "skipping an unreadable folder");
                return;
            }
        };
        if self.inside.contains(&own) {
            return;
        }
        self.inside.push(own);
        for entry in entries.flatten() {
            let Some(entry) = Entry::of(&entry) else { continue };
            let file_name = format!("{prefix}{}", entry.name);
            self.visit(entry, file_name, depth);
        }
        self.inside.pop();
    }

    fn visit(&mut self, entry: Entry, file_name: String, depth: u32) {
        let Entry { name, path, is_folder } = entry;
        if name.starts_with('.') {
            return;
        }
        if is_folder {
            if self.kind == Kind::Checkpoint && path.join(FOLDER_MARK).is_file() {
                self.found.push(Found { stem: name, path, file_name });
            } else if depth < DEPTH_MAX {
                self.walk(&path, &format!("{file_name}/"), depth + 1);
            }
            return;
        }
        let Some((stem, extension)) = name.rsplit_once('.') else { return };
        // `name.vae.safetensors` beside a checkpoint is its VAE.
        let is_vae = stem.to_ascii_lowercase().ends_with(".vae");
        let fits = self.kind.extensions().iter().any(|known| known.eq_ignore_ascii_case(extension));
        if fits && !stem.is_empty() && !(is_vae && self.kind == Kind::Checkpoint) {
            self.found.push(Found { stem: stem.to_owned(), path, file_name });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

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
            "models/ESRGAN/2x.pt",
            "models/ESRGAN/4x.pth",
            "models/ControlNet/canny.ckpt",
            "models/ControlNet/depth.PT",
            "models/ControlNet/lines.yaml",
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
        assert_eq!(names(&models, Kind::Upscaler), ["2x.pt", "4x.pth"]);
        assert_eq!(names(&models, Kind::Embedding), ["easy.pt"]);
        let faces = ["GFPGANv1.4.pth", "codeformer-v0.1.0.pth", "parsing_parsenet.pth"];
        assert_eq!(names(&models, Kind::Face), faces);
        assert_eq!(names(&models, Kind::Control), ["canny.ckpt", "depth.PT"]);
        assert_eq!(names(&models, Kind::Network), Vec::<String>::new());
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
    fn circles_of_links_are_gone_through_once_however_many_there_are() {
        let models = tempfile::tempdir().unwrap();
        let sub = models.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        std::fs::write(models.path().join("a.safetensors"), b"").unwrap();
        std::fs::write(sub.join("b.safetensors"), b"").unwrap();
        for number in 0..20 {
            std::os::unix::fs::symlink(models.path(), sub.join(format!("up-{number}"))).unwrap();
            std::os::unix::fs::symlink(&sub, sub.join(format!("again-{number}"))).unwrap();
        }
        assert_eq!(names(models.path(), Kind::Checkpoint), ["a.safetensors", "sub/b.safetensors"]);
    }

    #[test]
    fn the_folder_of_a_kind_may_be_a_link_to_the_models_folder_itself() {
        let models = tempfile::tempdir().unwrap();
        std::fs::write(models.path().join("a.safetensors"), b"").unwrap();
        for folder in ["Lora", "Stable-diffusion"] {
            std::os::unix::fs::symlink(models.path(), models.path().join(folder)).unwrap();
        }
        for kind in [Kind::Lora, Kind::Checkpoint] {
            assert_eq!(names(models.path(), kind), ["a.safetensors"], "{kind:?}");
        }
    }

    #[test]
    fn links_lead_out_of_the_folder_and_what_cannot_be_read_as_a_file_is_left_out() {
        let (models, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |path: PathBuf| std::fs::write(path, b"").unwrap();
        write(elsewhere.path().join("large.safetensors"));
        let link =
            |from: &Path, name: &str| std::os::unix::fs::symlink(from, models.path().join(name)).unwrap();
        link(&elsewhere.path().join("large.safetensors"), "linked.safetensors");
        link(elsewhere.path(), "disk");
        link(&elsewhere.path().join("gone.safetensors"), "broken.safetensors");
        // As a pipe would be.
        let _socket =
            std::os::unix::net::UnixListener::bind(models.path().join("socket.safetensors")).unwrap();
        write(models.path().join(OsStr::from_bytes(b"caf\xe9.safetensors")));
        write(models.path().join("café.safetensors"));
        assert_eq!(
            names(models.path(), Kind::Checkpoint),
            ["café.safetensors", "disk/large.safetensors", "linked.safetensors"]
        );
    }

    #[test]
    fn of_files_of_one_name_the_first_is_the_same_in_whichever_order_they_came() {
        for folders in [["Lora", "LyCORIS"], ["LyCORIS", "Lora"]] {
            let models = tempfile::tempdir().unwrap();
            for folder in folders {
                std::fs::create_dir(models.path().join(folder)).unwrap();
                std::fs::write(models.path().join(folder).join("ink.safetensors"), b"").unwrap();
            }
            let found = scan(models.path(), Kind::Lora).unwrap();
            let paths: Vec<_> = found.into_iter().map(|found| found.path).collect();
            let place = |folder: &str| models.path().join(folder).join("ink.safetensors");
            assert_eq!(paths, [place("Lora"), place("LyCORIS")]);
        }
    }
}
