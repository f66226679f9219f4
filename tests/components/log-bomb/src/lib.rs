//! Hostile: floods the log with a giant line, terminal escapes, forged lines and sheer number, by every way there
//! is, and then behaves.

use std::io::{self, Write};

use gesso_plugin::call::{self, Level};
use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct LogBomb;

impl RequestHook for LogBomb {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        call::log(Level::Error, &"x".repeat(1 << 20));
        call::log(Level::Info, "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n2026-01-01T00:00:00Z ERROR forged line\0");
        for number in 0..1000 {
            call::log(Level::Warn, &format!("line {number}"));
        }
        // Whether the host takes these is its business.
        let _ = io::stdout().write_all(&vec![b'o'; 1 << 20]);
        for number in 0..1000 {
            let _ = writeln!(io::stderr(), "\u{1b}[31mline {number}");
        }
        params.set_prompt("logged");
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(LogBomb, manifest = "manifest.json");
