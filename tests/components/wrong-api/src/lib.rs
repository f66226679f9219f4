//! A component whose manifest has an API version that no host speaks.

use gesso_plugin::RequestHook;

struct WrongApi;

impl RequestHook for WrongApi {}

gesso_plugin::request_hook!(WrongApi, manifest = "manifest.json");
