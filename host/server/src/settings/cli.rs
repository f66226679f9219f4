//! The command line. Flags only collect what was said; `Settings::resolve` decides.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "gesso",
    version,
    about = "A Stable Diffusion server whose plugins are sandboxed WebAssembly"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the REST APIs until SIGINT or SIGTERM.
    Serve(Serve),
    /// Draw one picture here and now, without a server.
    #[command(name = "txt2img")]
    Txt2Img(Txt2Img),
    /// Draw over a picture, on a running server.
    #[command(name = "img2img")]
    Img2Img(Img2Img),
    /// Enlarge a picture, on a running server.
    Upscale(Upscale),
    /// Look at, stop and repeat the tasks of a running server.
    Task(TaskArguments),
    /// Look at the checkpoints of a running server, load and unload them.
    Model(Model),
    /// Say who may use a running server.
    User(User),
    /// Make and withdraw API keys of a running server.
    Key(Key),
    /// Look at and change the plugins of a running server.
    Plugin(Plugin),
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
    #[arg(long, default_value = "")]
    pub(crate) negative_prompt: String,
    /// Checkpoint by name; the first in the folder when left out
    #[arg(long)]
    pub(crate) model: Option<String>,
    #[arg(long, default_value_t = 20)]
    pub(crate) steps: u32,
    #[arg(long, default_value_t = 7.0)]
    pub(crate) cfg_scale: f64,
    #[arg(long, default_value_t = 512)]
    pub(crate) width: u32,
    #[arg(long, default_value_t = 512)]
    pub(crate) height: u32,
    /// -1 draws one
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) seed: i64,
    #[arg(long, default_value = "DPM++ 2M")]
    pub(crate) sampler: String,
    #[arg(long, default_value = "Automatic")]
    pub(crate) scheduler: String,
    #[command(flatten)]
    pub(crate) settings: LocalSettings,
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
    #[arg(long, default_value = "")]
    pub(crate) negative_prompt: String,
    /// 0 keeps the picture, 1 keeps nothing of it
    #[arg(long, default_value_t = 0.75)]
    pub(crate) strength: f64,
    #[arg(long, default_value_t = 20)]
    pub(crate) steps: u32,
    #[arg(long, default_value_t = 512)]
    pub(crate) width: u32,
    #[arg(long, default_value_t = 512)]
    pub(crate) height: u32,
    /// -1 draws one
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) seed: i64,
    /// Checkpoint by name; the server's own choice when left out
    #[arg(long)]
    pub(crate) model: Option<String>,
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
    #[arg(long, default_value_t = 2.0)]
    pub(crate) factor: f64,
    /// Lanczos, Nearest, or a network of the models folder
    #[arg(long, default_value = "Lanczos")]
    pub(crate) upscaler: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct TaskArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
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
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// All that is known of one.
    Show { id: String },
    /// Stop one.
    Cancel { id: String },
    /// Have one that failed or expired run again.
    Retry { id: String },
    /// Forget one that has ended, with its pictures.
    Remove { id: String },
    /// Wait for the end of one, with a progress bar.
    Wait {
        id: String,
        /// Where its pictures go
        #[arg(short, long)]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Model {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// The checkpoints, and which are in memory.
    List,
    /// Bring your checkpoint into memory.
    Load,
    /// Take out of memory what no picture under way needs.
    Unload,
}

#[derive(Debug, Args)]
pub(crate) struct User {
    #[command(flatten)]
    pub(crate) connection: Connection,
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
        /// How long it lasts; for ever when left out
        #[arg(long)]
        days: Option<u32>,
    },
    /// Withdraw a key.
    Remove { id: String },
}

#[derive(Debug, Args)]
pub(crate) struct Plugin {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    #[command(flatten)]
    Author(AuthorCommand),
    #[command(flatten)]
    Admin(AdminCommand),
}

/// What needs no server.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorCommand {
    /// Begin a plugin: a folder with sources, manifest and tests. Needs no server.
    New(NewPlugin),
    /// Compile a plugin's folder into `<id>.wasm` in it. Needs no server.
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Run a plugin's own tests, then try its component in a host like the server's. Needs no server.
    ///
    /// The component is called with ordinary and with odd requests and pictures. Pictures that it makes are compared
    /// with those in the folder `golden`, where there is one.
    Test {
        /// The plugin's folder
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Write what it makes into the folder `golden`, to be compared with from now on
        #[arg(long)]
        bless: bool,
    },
    /// Build whenever a source changes, put the result into a running server, and show the plugin's log.
    Dev {
        /// The plugin's folder
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Say what a server would make of a component, and what it would need. Needs no server.
    Check { file: PathBuf },
    /// Put a manifest, and files that it carries, into a component that another compiler made. Needs no server.
    Pack {
        file: PathBuf,
        #[arg(long, default_value = "manifest.json")]
        manifest: PathBuf,
        /// A folder of files for the component to carry
        #[arg(long)]
        assets: Option<PathBuf>,
        /// Where it goes; `<id>.wasm` beside the file when left out
        #[arg(short, long)]
        out: Option<PathBuf>,
    },
    /// Put a component into an OCI registry, for servers to install it from. Needs no server.
    ///
    /// Registries that want a name and a password, or speak no TLS, stand in the settings file.
    Push {
        file: PathBuf,
        /// `oci://registry.example/plugins/frame:1.2`
        to: String,
        /// Settings file (TOML) with the registries [env: GESSO_CONFIG]
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Make a key to sign plugins with, and show its public half. Needs no server.
    Keygen {
        /// Where the private key goes
        out: PathBuf,
    },
    /// Sign a component, in place. Needs no server.
    Sign {
        file: PathBuf,
        /// The file that `keygen` wrote
        #[arg(long)]
        key: PathBuf,
    },
    /// Say who signed a component, and whether its bytes are those that were signed. Needs no server.
    Verify {
        file: PathBuf,
        /// Public keys of which one must have signed it
        #[arg(long = "key")]
        keys: Vec<String>,
    },
}

/// What a running server is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Every plugin with version, state, grants and calls.
    List,
    /// Upload a component, or have the server bring one; a plugin of the same id is replaced while requests under way finish
    /// on the old one.
    Install {
        /// A file, `oci://registry.example/plugins/frame:1.2`, or an `https://` address
        from: String,
        /// What must lie elsewhere, `sha256:` and hex digits: of an artifact's manifest, or of the file at an address
        #[arg(long)]
        digest: Option<String>,
    },
    /// Back to the version before.
    Rollback { id: String },
    /// Switch a plugin on or off, move it in the chain of hooks, say whom it serves, which requests it is called for and what
    /// its failures cost.
    Configure {
        id: String,
        /// Whether it is called at all
        #[arg(long)]
        enabled: Option<bool>,
        /// What a failed call does to the request: fail or skip
        #[arg(long)]
        on_failure: Option<String>,
        /// Which requests its hooks are called for: always, or named under alwayson_scripts
        #[arg(long)]
        called: Option<String>,
        /// Whom it serves, as PATCH /plugins/<id> takes it: `{"role": "operator", "users": ["ann"], "except": []}`; `{}` is everybody
        #[arg(long)]
        serves: Option<serde_json::Value>,
        /// Whether a request may leave it out
        #[arg(long)]
        may_be_left_out: Option<bool>,
        /// New place in the chain of hooks, from 0
        #[arg(long)]
        position: Option<usize>,
    },
    /// Switch a plugin off and wait until its last call has ended.
    Drain { id: String },
    /// Replace a plugin's grants and settings with those of a JSON file, as PUT /plugins/<id>/grants takes them.
    Grant {
        id: String,
        /// `{"folders": {"wildcards": "/srv/wildcards"}, "hosts": ["https://pictures.example"], "settings": {}}`
        file: PathBuf,
    },
    /// The newest lines of a plugin's log.
    Logs { id: String },
    /// What was done to a plugin and what came of it.
    History { id: String },
    /// Stop it and delete its file; what it keeps stays.
    Remove { id: String },
    /// Drop all that a plugin keeps, also of one that is removed.
    Forget { id: String },
}

#[derive(Debug, Args)]
pub(crate) struct NewPlugin {
    /// The plugin's id: a to z, 0 to 9 and -
    pub(crate) name: String,
    /// What it is written in
    #[arg(long = "lang", value_enum, default_value = "rust")]
    pub(crate) language: Language,
    /// What it is
    #[arg(long, value_enum)]
    pub(crate) world: World,
    /// Where it goes; the name in the current folder when left out
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// For Rust, the folder sdk-plugin of a checkout; that of the checkout around the current folder when left out
    #[arg(long)]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    Rust,
    Python,
    /// JavaScript
    Js,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum World {
    /// Sees requests before they are drawn, and pictures before they are stored
    RequestHook,
    /// Makes the maps that ControlNets read
    Annotator,
    /// Sees each picture once it is drawn, and may look at it with networks and paint over it
    PictureHook,
    /// Draws in place of the pipeline, as often as it likes
    Script,
    /// An HTTP API under /ext/<id>/
    HttpExtension,
}
