//! `gesso:plugin/call`: the call under way. Reads the context the server gave; writes only to the plugin's log.

use super::CallState;
use super::gesso::plugin::call::{Host, Level};
use crate::log::LogLevel;
use std::sync::atomic::Ordering;

impl Host for CallState {
    fn request_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.context.request_id.clone())
    }

    fn seed(&mut self) -> wasmtime::Result<u64> {
        Ok(self.context.seed)
    }

    fn settings(&mut self) -> wasmtime::Result<String> {
        Ok(self.capabilities.settings_json.clone())
    }

    fn log(&mut self, level: Level, text: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.log.guest_line(level, &text);
        Ok(())
    }

    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.context.cancelled.load(Ordering::Relaxed))
    }
}
