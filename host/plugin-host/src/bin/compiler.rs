//! The compile worker as a program by itself, for tests and for hosts that are not the `gesso` binary.

fn main() -> std::process::ExitCode {
    gesso_plugin_host::compile_worker::main(std::env::args_os().skip(1))
}
