//! The command line. Flags only collect what was said; `Settings::resolve` decides.

pub(crate) mod plugin;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use plugin::Plugin;

#[derive(Debug, Parser)]
#[command(
    name = "gesso",
    version,
    about = "A Stable Diffusion server whose plugins are sandboxed WebAssembly",
    after_help = "Exit codes: 0 done; 1 the command, or the task that it waited for, failed; 2 the command line or the \
                  settings are wrong; 3 another process holds the data folder or the port."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the REST APIs until SIGINT or SIGTERM.
    Serve(Serve),
    /// Draw one picture here and now, or on a running server.
    #[command(name = "txt2img")]
    Txt2Img(Txt2Img),
    /// Draw over a picture, on a running server.
    #[command(name = "img2img")]
    Img2Img(Img2Img),
    /// Enlarge a picture, on a running server.
    Upscale(Upscale),
    /// Look at, stop and repeat the tasks of a running server.
    Task(TaskArguments),
    /// Look at the models of a running server, register, load and unload them.
    Model(Model),
    /// Say who may use a running server.
    User(User),
    /// Make and withdraw API keys of a running server.
    Key(Key),
    /// Look at and change the plugins of a running server.
    Plugin(Plugin),
    /// Print what a shell needs to complete this command line: `source <(gesso completions bash)`.
    Completions { shell: Shell },
    /// Compiles one plugin in a process of its own. For the server only.
    #[command(hide = true)]
    CompilePlugin {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args, Default)]
pub(crate) struct Serve {
    /// Settings file (TOML) [env: GESSO_CONFIG]
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Address and port; port 0 picks a free one [env: GESSO_LISTEN] [default: 127.0.0.1:7860]
    #[arg(long)]
    pub(crate) listen: Option<String>,
    /// Folder for tasks, pictures, keys and plugin state [env: GESSO_DATA]
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Folder of .safetensors checkpoints [env: GESSO_MODELS]
    #[arg(long)]
    pub(crate) models: Option<String>,
    /// Folder of .wasm plugins, watched [env: GESSO_PLUGINS]
    #[arg(long)]
    pub(crate) plugins: Option<String>,
    /// What URLs to this server begin with, behind a proxy [env: GESSO_PUBLIC_URL]
    #[arg(long)]
    pub(crate) public_url: Option<String>,
    /// Whether requests need credentials: auto, open or closed [env: GESSO_ACCESS]
    #[arg(long)]
    pub(crate) access: Option<String>,
    /// Checkpoint for requests that name none
    #[arg(long)]
    pub(crate) default_model: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// auto, f32, bf16 or f16
    #[arg(long)]
    pub(crate) dtype: Option<String>,
    /// CPU threads for libtorch; 0 is one per core
    #[arg(long)]
    pub(crate) threads: Option<String>,
    /// Compute every picture alone, the same to the bit whatever is drawn beside it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) deterministic: Option<String>,
    /// text or json
    #[arg(long)]
    pub(crate) log_format: Option<String>,
    /// Print the resolved settings, secrets hidden, and exit
    #[arg(long)]
    pub(crate) print_settings: bool,
}

impl Serve {
    /// What was said: (where, key, value).
    pub(crate) fn said(&self) -> Vec<(String, String, String)> {
        [
            ("listen", &self.listen),
            ("data", &self.data),
            ("models", &self.models),
            ("plugins", &self.plugins),
            ("public_url", &self.public_url),
            ("access", &self.access),
            ("default_model", &self.default_model),
            ("device", &self.device),
            ("dtype", &self.dtype),
            ("threads", &self.threads),
            ("deterministic", &self.deterministic),
            ("log_format", &self.log_format),
        ]
        .into_iter()
        .filter_map(|(key, value)| {
            let value = value.clone()?;
            Some((format!("--{}", key.replace('_', "-")), key.to_owned(), value))
        })
        .collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Txt2Img {
    /// What to draw
    pub(crate) prompt: String,
    /// Where the PNG goes
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// What not to draw
    #[arg(long, default_value = "")]
    pub(crate) negative_prompt: String,
    /// Checkpoint by name; the first in the folder, or the server's own choice, when left out
    #[arg(long)]
    pub(crate) model: Option<String>,
    #[arg(long, default_value_t = 20)]
    pub(crate) steps: u32,
    /// How closely the prompt is followed
    #[arg(long, default_value_t = 7.0)]
    pub(crate) cfg_scale: f64,
    /// Pixels, a multiple of 8
    #[arg(long, default_value_t = 512)]
    pub(crate) width: u32,
    /// Pixels, a multiple of 8
    #[arg(long, default_value_t = 512)]
    pub(crate) height: u32,
    /// -1 draws one
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) seed: i64,
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
    pub(crate) seen: Seen,
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
    /// Folder of .safetensors checkpoints [env: GESSO_MODELS]
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

/// Which server, and with what it is asked.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Base URL of the server
    #[arg(long, global = true, env = "GESSO_URL", default_value = "http://127.0.0.1:7860")]
    pub(crate) url: String,
    /// API key, or the admin key; commands for admins read `admin-key` in the data folder when it is left out
    #[arg(long, global = true, visible_alias = "admin-key", env = "GESSO_ADMIN_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// Data folder of the server on this machine [env: GESSO_DATA]
    #[arg(long, global = true)]
    pub(crate) data: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Img2Img {
    /// The picture to draw over
    pub(crate) picture: PathBuf,
    /// What to draw
    pub(crate) prompt: String,
    /// Where the picture goes
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// What is drawn anew: white in this picture; all of it when left out
    #[arg(long)]
    pub(crate) mask: Option<PathBuf>,
    /// What not to draw
    #[arg(long, default_value = "")]
    pub(crate) negative_prompt: String,
    /// 0 keeps the picture, 1 keeps nothing of it
    #[arg(long, default_value_t = 0.75)]
    pub(crate) strength: f64,
    #[arg(long, default_value_t = 20)]
    pub(crate) steps: u32,
    /// Pixels, a multiple of 8; the picture is brought to this size
    #[arg(long, default_value_t = 512)]
    pub(crate) width: u32,
    /// Pixels, a multiple of 8
    #[arg(long, default_value_t = 512)]
    pub(crate) height: u32,
    /// -1 draws one
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) seed: i64,
    /// Checkpoint by name; the server's own choice when left out
    #[arg(long)]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) seen: Seen,
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

#[derive(Debug, Args)]
pub(crate) struct TaskArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Your tasks, newest first; everybody's for operators.
    List {
        /// waiting, running, succeeded, failed, canceled or expired
        #[arg(long)]
        state: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// All that is known of one, as JSON.
    Show { id: String },
    /// Stop one.
    Cancel { id: String },
    /// Have one that failed or expired run again.
    Retry { id: String },
    /// Forget one that has ended, with its pictures.
    Remove { id: String },
    /// Wait for the end of one, with a progress bar, and fetch its pictures. One that has ended needs no waiting.
    Wait {
        id: String,
        /// Where its pictures go: the first under this name, others with a number behind it
        #[arg(short, long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        seen: Seen,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Model {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// The models, and which checkpoints are in memory.
    List,
    /// Have the server copy a model out of its object store, which goes on after the answer. For operators.
    Register {
        /// The object, such as models/dreamy.safetensors
        object: String,
        /// stableDiffusion, sdVae, lora or controlNet
        #[arg(long = "type", value_name = "TYPE", default_value = "stableDiffusion")]
        kind: String,
        /// What its file shall be called; as the object is when left out
        #[arg(long)]
        name: Option<String>,
        /// The object's ETag or the file's SHA-256, which it has to have
        #[arg(long)]
        etag: Option<String>,
    },
    /// Remove a registered model and its file. For operators.
    Remove {
        /// The name of its file
        name: String,
    },
    /// Bring your checkpoint into memory.
    Load,
    /// Take out of memory what no picture under way needs.
    Unload,
}

#[derive(Debug, Args)]
pub(crate) struct User {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Everybody who has an account.
    List,
    /// Add a user. From the first on, everybody has to say who they are.
    Add {
        /// Letters, digits, '-' and '_'
        name: String,
        /// reader, user, operator or admin
        #[arg(long, default_value = "user")]
        role: String,
        /// Read a password from standard input; without one only keys let them in
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change a user.
    Set {
        name: String,
        /// reader, user, operator or admin
        #[arg(long)]
        role: Option<String>,
        /// Whether the account may be used
        #[arg(long)]
        enabled: Option<bool>,
        /// Read a new password from standard input; it ends their sessions
        #[arg(long)]
        password_stdin: bool,
    },
    /// Take a user's account and keys away; their tasks stay.
    Remove { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Your keys; everybody's for admins.
    List,
    /// Make a key and show it, once.
    New {
        /// Whose; your own when left out
        #[arg(long)]
        user: Option<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        label: String,
        /// How long it lasts; for ever when left out, where the server lets keys do so
        #[arg(long)]
        days: Option<u32>,
    },
    /// Withdraw a key.
    Remove { id: String },
}
