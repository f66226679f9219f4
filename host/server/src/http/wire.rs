//! Bodies as they cross the wire, and nothing else: each converts to and from the words of `gesso-core`.

pub(crate) mod fields;
pub(crate) mod info;
pub(crate) mod schema;
pub(crate) mod txt2img;
