//! The command line, by groups of commands. Flags only collect what was said; `Settings::resolve` decides.

pub(crate) mod account;
pub(crate) mod drawing;
pub(crate) mod model;
pub(crate) mod plugin;
pub(crate) mod store;
pub(crate) mod task;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use account::{Key, User};
use drawing::{Img2Img, Txt2Img, Upscale};
use model::Model;
use plugin::Plugin;
use store::Store;
use task::TaskArguments;

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
    /// Make a task store of a backup. Needs no server.
    Store(Store),
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
    /// Folder of models: checkpoints, or a web UI's own with all that belongs to them [env: GESSO_MODELS]
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
    /// Checkpoint for requests that name none [env: GESSO_DEFAULT_MODEL]
    #[arg(long)]
    pub(crate) default_model: Option<String>,
    /// auto, cpu, cuda or cuda:N [env: GESSO_DEVICE]
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// auto, f32, bf16 or f16 [env: GESSO_DTYPE]
    #[arg(long)]
    pub(crate) dtype: Option<String>,
    /// CPU threads for libtorch; 0 is one per core [env: GESSO_THREADS]
    #[arg(long)]
    pub(crate) threads: Option<String>,
    /// Compute every picture alone, the same to the bit whatever is drawn beside it [env: GESSO_DETERMINISTIC]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) deterministic: Option<String>,
    /// text or json [env: GESSO_LOG_FORMAT]
    #[arg(long)]
    pub(crate) log_format: Option<String>,
    /// Print the resolved settings, secrets hidden, and exit
    #[arg(long)]
    pub(crate) print_settings: bool,
    /// Gradients in place of pictures, at once, for those who measure the server around them: `cargo xtask bench api`
    #[arg(long, hide = true)]
    pub(crate) made_up_pictures: bool,
    /// After so many calls the device that makes pictures up is lost, as real ones are, for tests of what comes then
    #[arg(long, hide = true, requires = "made_up_pictures")]
    pub(crate) made_up_calls: Option<u64>,
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

/// Which server, and with what it is asked.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Base URL of the server
    #[arg(long, global = true, env = "GESSO_URL", default_value = "http://127.0.0.1:7860")]
    pub(crate) url: String,
    /// API key, or the admin key; commands for admins read `admin-key` in the data folder when it is left out and the server is
    /// on this machine
    #[arg(long, global = true, visible_alias = "admin-key", env = "GESSO_ADMIN_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// Data folder of the server on this machine [env: GESSO_DATA]
    #[arg(long, global = true)]
    pub(crate) data: Option<String>,
}
