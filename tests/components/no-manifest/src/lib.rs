//! A component of the right world that carries no manifest. Goes behind the SDK's back, which always embeds one.

use gesso_plugin::__private::{RequestHookAdapter, request_hook as bindings};
use gesso_plugin::RequestHook;

struct NoManifest;

impl RequestHook for NoManifest {}

type Component = RequestHookAdapter<NoManifest>;

const _: () = {
    bindings::export_request_hook!(Component with_types_in bindings);
};
