//! What the compile worker can still do once it has confined itself: compute, and nothing else.

use crate::support::{TestHost, guest};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const COMPILER: &str = env!("CARGO_BIN_EXE_gesso-plugin-compiler");

/// What a kernel that takes them has a process say of itself once it has given up calls.
const FILTERED: &str = "Seccomp:\t2";

/// What a process has given up, and what it could do afterwards, a line each: to read a file, to write one, and to connect.
fn confined(tries: [&str; 3]) -> (String, String) {
    let output = Command::new(COMPILER).arg("--confined").args(tries).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (confined, could) = said.split_once('\n').unwrap();
    (confined.to_owned(), could.to_owned())
}

#[test]
fn a_confined_process_reaches_no_file_no_host_and_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, written) = (folder.path().join("secret"), folder.path().join("written"));
    std::fs::write(&secret, "x").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (confined, said) = confined([secret.to_str().unwrap(), written.to_str().unwrap(), &address]);
    let lines: Vec<&str> = said.lines().collect();
    let (files, calls) = (confined.contains("files: true"), confined.contains("calls: true"));
    println!("{confined}");
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

#[tokio::test(flavor = "multi_thread")]
async fn what_the_worker_gave_up_is_known_once_it_has_compiled() {
    let test = TestHost::start().await;
    assert_eq!(test.host.compiler_confinement(), None);
    test.host.install(guest("good-v1")).await.unwrap();
    let (gave_up, _) = confined(["/", "/", "127.0.0.1:1"]);
    assert_eq!(format!("{:?}", test.host.compiler_confinement().unwrap()), gave_up);
}

#[test]
fn the_worker_bounds_itself_before_it_reads_what_it_compiles() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(COMPILER);
    command.arg("--output").arg(folder.path().join("artifact")).args(["--sha256", "00"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let worker = command.spawn().unwrap();
    // It waits for the component, which does not come yet.
    let told =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", worker.id())).unwrap_or_default();
    let bounds = [
        ("Max address space", "12884901888"),
        ("Max cpu time", "120"),
        ("Max file size", "536870912"),
        ("Max core file size", "0"),
        ("Max open files", "64"),
    ];
    let is_bounded = || {
        let limits = told("limits");
        let has = |(name, bound): &(&str, &str)| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().take(2).eq([*bound; 2])
        };
        bounds.iter().all(has)
    };
    let (confined, _) = confined(["/", "/", "127.0.0.1:1"]);
    let is_ready =
        || is_bounded() && (!confined.contains("calls: true") || told("status").contains(FILTERED));
    let began = Instant::now();
    while !is_ready() {
        let late = began.elapsed() > Duration::from_secs(20);
        assert!(!late, "{}\n{}", told("limits"), told("status"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = worker.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(65) && said.contains("arrived damaged"), "{said}");
}
