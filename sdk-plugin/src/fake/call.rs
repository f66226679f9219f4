//! `gesso:plugin/call` of a made-up host.

pub(crate) use crate::bindings::request_hook::gesso::plugin::call::Level;

use super::ask;
use crate::call::Level as OwnLevel;

pub(crate) fn request_id() -> String {
    ask(|state| state.request_id.clone())
}

pub(crate) fn seed() -> u64 {
    ask(|state| state.seed)
}

pub(crate) fn settings() -> String {
    ask(|state| state.settings.clone())
}

pub(crate) fn log(level: Level, text: &str) {
    let level = match level {
        Level::Debug => OwnLevel::Debug,
        Level::Info => OwnLevel::Info,
        Level::Warn => OwnLevel::Warn,
        Level::Error => OwnLevel::Error,
    };
    ask(|state| state.log.push((level, text.to_owned())));
}

pub(crate) fn cancelled() -> bool {
    ask(|state| state.is_cancelled)
}
