//! What the compile worker can still do once it has confined itself: compute, and nothing else.

use std::net::TcpListener;
use std::process::Command;

#[test]
fn a_confined_process_reaches_no_file_no_host_and_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, written) = (folder.path().join("secret"), folder.path().join("written"));
    std::fs::write(&secret, "x").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesso-plugin-compiler"));
    let output = command.arg("--confined").arg(&secret).arg(&written).arg(address).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let (files, calls) = (said.contains("files: true"), said.contains("calls: true"));
    println!("{}", lines[0]);
    // A kernel may lack one or both; what it has must hold.
    assert!(lines.contains(&"start a thread"), "{said}");
    for (what, by) in [
        ("read a file", files),
        ("write a file", files),
        ("list a folder", files),
        ("connect", calls),
        ("start a program", calls),
        ("signal its parent", calls),
        ("limit its parent", calls),
    ] {
        assert_eq!(lines.contains(&what), !by, "{what}: {said}");
    }
    assert_eq!(written.exists(), !files);
}
