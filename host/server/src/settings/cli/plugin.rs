//! The command line of `gesso plugin`. As in the rest of the command line, flags only collect what was said.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;

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
    /// Every plugin with version, state, calls, what it is granted, and why a newer build of it is refused.
    List,
    /// All of one plugin as JSON: state, grants, what its calls may spend, switches, counters.
    Show { id: String },
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
        /// What a failed call does to the request: fail or skip, or by world or hook, `{"after": "fail", "*": "skip"}`
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
    Drain {
        id: String,
        /// Seconds that its calls may take; where some still run then, the plugin stays off and the command fails
        #[arg(long, default_value_t = 600)]
        timeout: u64,
    },
    /// Replace a plugin's grants and settings with those of a JSON file, as PUT /plugins/<id>/grants takes them.
    Grant {
        id: String,
        /// `{"folders": {"wildcards": "/srv/wildcards"}, "hosts": ["https://pictures.example"], "budgets": {"script":
        /// {"memory_mib": 512}}, "tier": "trusted", "settings": {}}`
        file: PathBuf,
    },
    /// The settings that a plugin was given, when and by whom, one version a line.
    Settings {
        id: String,
        /// Give it the settings of this number again, and leave its other grants as they are
        #[arg(long)]
        restore: Option<u64>,
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
    /// For Rust, the folder sdk-plugin of a checkout; when left out, that of the checkout around the current folder, and
    /// outside of one the SDK that this program carries
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
    /// Sees each picture that is drawn, and may look at it with networks and paint over it
    PictureHook,
    /// Acts on the latent and on its estimates within the sampler's steps
    StepHook,
    /// Draws in place of the pipeline, as often as it likes
    Script,
    /// Brings pictures that requests name instead of carrying
    InputFetcher,
    /// An HTTP API under /ext/<id>/; in Python and JavaScript the world `http-handler`
    #[value(alias = "http-handler")]
    HttpExtension,
    /// Reads along where a client's infotext is read
    InfotextHook,
    /// Hears of each picture that is saved
    SaveHook,
    /// Hears of each checkpoint that comes into memory
    ModelHook,
    /// Lays out the grid of a request's pictures
    GridHook,
}
