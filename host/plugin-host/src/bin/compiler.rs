//! The compile worker as a program by itself, for tests and for hosts that are not the `gesso` binary. With `--confined` it
//! tries what a confined process may not do, one line for each that it could.

use rustix::process::{Resource, Rlimit, Signal, getppid, kill_process, prlimit};
use std::io::Write;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    match args.next_if(|arg| arg == "--confined") {
        Some(_) => confined(&mut args.map(|arg| arg.to_string_lossy().into_owned())),
        None => gesso_plugin_host::compile_worker::main(args),
    }
}

/// Arguments are a file to read, one to write, and an address to connect to.
fn confined(args: &mut dyn Iterator<Item = String>) -> ExitCode {
    let (Some(read), Some(write), Some(address)) = (args.next(), args.next(), args.next()) else {
        return ExitCode::FAILURE;
    };
    let confinement = gesso_plugin_host::confine::confine();
    let (parent, no_limit) = (getppid(), Rlimit { current: None, maximum: None });
    let could = [
        ("read a file", std::fs::read(read).is_ok()),
        ("write a file", std::fs::write(write, "x").is_ok()),
        ("list a folder", std::fs::read_dir("/").is_ok()),
        ("connect", std::net::TcpStream::connect(address).is_ok()),
        ("start a program", Command::new("/bin/true").status().is_ok()),
        ("signal its parent", parent.is_some_and(|parent| kill_process(parent, Signal::CONT).is_ok())),
        (
            "limit its parent",
            parent.is_some_and(|parent| prlimit(Some(parent), Resource::Core, no_limit).is_ok()),
        ),
        ("start a thread", std::thread::Builder::new().spawn(|| ()).is_ok()),
    ];
    let mut out = std::io::stdout();
    let mut written = writeln!(out, "{confinement:?}");
    for (what, _) in could.iter().filter(|(_, could)| *could) {
        written = written.and_then(|()| writeln!(out, "{what}"));
    }
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
