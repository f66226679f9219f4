//! A component whose manifest has an id that cannot name a plugin.

use gesso_plugin::RequestHook;

struct BadManifest;

impl RequestHook for BadManifest {}

gesso_plugin::request_hook!(BadManifest, manifest = "manifest.json");
