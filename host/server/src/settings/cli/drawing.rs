//! What the commands that draw take: `txt2img`, `img2img` and `upscale`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Connection, Serve};

/// What is drawn by words, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// What to draw
    pub(crate) prompt: String,
    /// Where the picture goes
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// What not to draw
    #[arg(long, default_value = "")]
    pub(crate) negative_prompt: String,
    /// Checkpoint by name; when left out the server's own choice, and without a server the first in the folder
    #[arg(long)]
    pub(crate) model: Option<String>,
    #[arg(long, default_value_t = 20)]
    pub(crate) steps: u32,
    /// Pixels, a multiple of 8; a picture that is drawn over is brought to this size
    #[arg(long, default_value_t = 512)]
    pub(crate) width: u32,
    /// Pixels, a multiple of 8
    #[arg(long, default_value_t = 512)]
    pub(crate) height: u32,
    /// -1 draws one
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) seed: i64,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

#[derive(Debug, Args)]
pub(crate) struct Txt2Img {
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// How closely the prompt is followed
    #[arg(long, default_value_t = 7.0)]
    pub(crate) cfg_scale: f64,
    #[arg(long, default_value = "DPM++ 2M")]
    pub(crate) sampler: String,
    #[arg(long, default_value = "Automatic")]
    pub(crate) scheduler: String,
    /// Have the server at this URL draw it, with its models and plugins; this machine draws when left out
    #[arg(long, conflicts_with_all = ["config", "models", "device", "dtype", "threads"])]
    pub(crate) url: Option<String>,
    /// API key for the server at --url
    #[arg(long, visible_alias = "admin-key", env = "GESSO_ADMIN_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    #[command(flatten)]
    pub(crate) settings: LocalSettings,
}

/// What is seen of pictures in the terminal.
#[derive(Debug, Args)]
pub(crate) struct Seen {
    /// Show pictures in the terminal, also while they are drawn
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) preview: Preview,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preview {
    /// Where standard error is a terminal that can: kitty's, iTerm2's or sixel graphics, else blocks of colour
    Auto,
    /// Wherever standard error leads
    Always,
    Never,
}

/// The settings that matter without a server.
#[derive(Debug, Args)]
pub(crate) struct LocalSettings {
    /// Settings file (TOML) [env: GESSO_CONFIG]
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Folder of models: checkpoints, or a web UI's own with all that belongs to them [env: GESSO_MODELS]
    #[arg(long)]
    pub(crate) models: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// auto, f32, bf16 or f16
    #[arg(long)]
    pub(crate) dtype: Option<String>,
    /// CPU threads for libtorch; 0 is one per core
    #[arg(long)]
    pub(crate) threads: Option<String>,
}

impl LocalSettings {
    pub(crate) fn as_serve(&self) -> Serve {
        Serve {
            config: self.config.clone(),
            models: self.models.clone(),
            device: self.device.clone(),
            dtype: self.dtype.clone(),
            threads: self.threads.clone(),
            ..Serve::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Img2Img {
    /// The picture to draw over
    pub(crate) picture: PathBuf,
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// What is drawn anew: white in this picture; all of it when left out
    #[arg(long)]
    pub(crate) mask: Option<PathBuf>,
    /// 0 keeps the picture, 1 keeps nothing of it
    #[arg(long, default_value_t = 0.75)]
    pub(crate) strength: f64,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Upscale {
    /// The picture to enlarge
    pub(crate) picture: PathBuf,
    /// Where the picture goes
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// How many times as wide and as high it becomes
    #[arg(long, default_value_t = 2.0)]
    pub(crate) factor: f64,
    /// Lanczos, Nearest, or a network of the models folder
    #[arg(long, default_value = "Lanczos")]
    pub(crate) upscaler: String,
    #[command(flatten)]
    pub(crate) seen: Seen,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
