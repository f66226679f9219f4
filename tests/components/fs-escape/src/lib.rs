//! Hostile: tries to read and change files of the host by every kind of path. Says in the prompt what it got.

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
        let changes = [
            ("a write to /tmp", fs::write("/tmp/escaped", "x")),
            ("a new folder", fs::create_dir("escaped")),
            ("a hard link", fs::hard_link("/etc/passwd", "escaped")),
            ("a rename with a slash behind it", fs::rename("/etc/passwd", "escaped/")),
            ("a removal", fs::remove_file("/tmp/escaped")),
        ];
        escapes.extend(changes.iter().filter(|(_, done)| done.is_ok()).map(|(what, _)| *what));
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
