//! The kinds of model files and the folders they lie in. The folders are those of the web UIs, so that their
//! `models` folder can be served as it is.

use serde::{Deserialize, Serialize};

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Checkpoint,
    Lora,
    Vae,
    /// Textual inversions.
    Embedding,
    Hypernetwork,
    /// Networks that enlarge pictures.
    Upscaler,
    /// ControlNets and T2I adapters.
    Control,
    /// Networks that restore faces, and those that find and part them. Which is which shows in the files.
    Face,
    /// TorchScript networks, which plugins run, and which have words for pictures.
    Network,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Checkpoint,
        Self::Lora,
        Self::Vae,
        Self::Embedding,
        Self::Hypernetwork,
        Self::Upscaler,
        Self::Control,
        Self::Face,
        Self::Network,
    ];

    /// In sentences to clients.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Checkpoint => "model",
            Self::Lora => "LoRA",
            Self::Vae => "VAE",
            Self::Embedding => "embedding",
            Self::Hypernetwork => "hypernetwork",
            Self::Upscaler => "upscaler",
            Self::Control => "ControlNet model",
            Self::Face => "face model",
            Self::Network => "network",
        }
    }

    /// Folders right inside the models folder, in any case. Checkpoints may also lie outside of all of these.
    pub(crate) fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Checkpoint => &["Stable-diffusion"],
            Self::Lora => &["Lora", "LyCORIS"],
            Self::Vae => &["VAE"],
            Self::Embedding => &["embeddings"],
            Self::Hypernetwork => &["hypernetworks"],
            Self::Upscaler => &["ESRGAN", "RealESRGAN", "upscalers"],
            Self::Control => &["ControlNet", "T2I-Adapter"],
            // The last two are ComfyUI's.
            Self::Face => &["GFPGAN", "Codeformer", "facelib", "facerestore_models", "facedetection"],
            Self::Network => &["networks", "adetailer"],
        }
    }

    /// Lower case, without the dot. Pickles (`.ckpt`, `.pt`, `.pth`, `.bin`) are read without being executed.
    pub(crate) fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Checkpoint => &["safetensors", "ckpt"],
            Self::Lora | Self::Vae => &["safetensors", "pt", "ckpt"],
            Self::Embedding => &["safetensors", "pt", "bin", "png", "webp"],
            Self::Hypernetwork => &["pt"],
            Self::Upscaler => &["safetensors", "pth", "pt"],
            Self::Face => &["safetensors", "pth"],
            Self::Control => &["safetensors", "pth", "pt", "ckpt", "bin"],
            Self::Network => &["torchscript"],
        }
    }

    /// The kind whose folder this is.
    pub(crate) fn of_folder(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.folders().iter().any(|folder| folder.eq_ignore_ascii_case(name)))
    }
}
