//! Hostile: tries to read files of the host by every kind of path. Says in the prompt what it got.

use std::fs;

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

const PATHS: [&str; 9] = [
    "/etc/passwd",
    "etc/passwd",
    "../../../../../../etc/passwd",
    "./../etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "/",
    ".",
    "..",
];

struct FsEscape;

impl RequestHook for FsEscape {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let is_open = |path: &&&str| fs::File::open(path).is_ok() || fs::read_dir(path).is_ok();
        let mut escapes: Vec<&str> = PATHS.iter().filter(is_open).copied().collect();
        if fs::write("/tmp/escaped", "x").is_ok() {
            escapes.push("a write to /tmp");
        }
        if std::env::vars_os().next().is_some() {
            escapes.push("the environment");
        }
        params.set_prompt(match escapes.as_slice() {
            [] => "contained".to_owned(),
            escapes => format!("escaped through {}", escapes.join(", ")),
        });
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(FsEscape, manifest = "manifest.json");
