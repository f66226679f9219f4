//! The compile worker: a process of its own that limits and confines itself, reads one component from standard input, compiles
//! it with the server's configuration and writes the artifact. Says first, on standard output, what it gave up. Started by the
//! plugin host through `gesso compile-plugin`. Knows no grants, no cache and no keys.

use crate::confine::confine;
use crate::{engine, inspect};
use gesso_core::hex::hex;
use rustix::process::{Resource, Rlimit, setrlimit};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Address space. libtorch may be mapped into the same program, which takes a few GiB of it.
const ADDRESS_SPACE_BYTES: u64 = 12 << 30;
/// Processor time over all threads. A Python component takes about 6 s.
const CPU_SECONDS: u64 = 120;
/// Largest artifact; compiled JavaScript components reach 52 MB.
pub(crate) const MAX_ARTIFACT_BYTES: u64 = 512 << 20;
const OPEN_FILES: u64 = 64;

/// Exit status for a component that cannot be compiled; anything else is a fault of the worker.
pub(crate) const EXIT_REFUSED: u8 = 65;

/// Runs the worker: `--output <file> --sha256 <hex>`, component on standard input. What it has given up before it reads that is a
/// line of JSON on standard output, a [`Confinement`](crate::confine::Confinement); on failure the reason is one line on standard
/// error.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Standard error is this program's answer.
            let _ = writeln!(std::io::stderr(), "{reason}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn run(mut args: impl Iterator<Item = OsString>) -> Result<(), String> {
    let (mut output, mut expected) = (None, None);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--output") => output = args.next().map(PathBuf::from),
            Some("--sha256") => expected = args.next().and_then(|hex| hex.into_string().ok()),
            _ => return Err(format!("unknown argument {arg:?}; expected --output FILE --sha256 HEX")),
        }
    }
    let (Some(output), Some(expected)) = (output, expected) else {
        return Err("expected --output FILE --sha256 HEX".to_owned());
    };
    // Opened while that is still allowed.
    let mut file =
        std::fs::File::create(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    limit_self()?;
    let confinement = serde_json::to_string(&confine()).map_err(|error| error.to_string())?;
    // Where nobody listens, whoever started it takes it for one that gave up nothing.
    let _ = writeln!(std::io::stdout(), "{confinement}");

    let mut bytes = Vec::new();
    let limit = inspect::MAX_COMPONENT_BYTES as u64 + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if sha256_hex(&bytes) != expected {
        return Err("the component arrived damaged".to_owned());
    }
    inspect::inspect(&bytes).map_err(|error| error.to_string())?;
    let engine = engine::for_compiling().map_err(|error| error.to_string())?;
    let artifact = engine.precompile_component(&bytes).map_err(|error| one_line(&format!("{error:#}")))?;
    file.write_all(&artifact).map_err(|error| format!("{}: {error}", output.display()))
}

/// Untrusted input decides how long a compiler runs and what it allocates; the kernel ends it where it overdoes.
fn limit_self() -> Result<(), String> {
    let limits = [
        (Resource::As, ADDRESS_SPACE_BYTES),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Fsize, MAX_ARTIFACT_BYTES),
        (Resource::Core, 0),
        (Resource::Nofile, OPEN_FILES),
    ];
    // Where memory runs out all the same, the kernel should end this process and not the server. Not every kernel
    // lets a process say so.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    for (resource, most) in limits {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|error| format!("limiting {resource:?}: {error}"))?;
    }
    Ok(())
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
