//! Pictures in terminals: on real pseudo-terminals, which `script` of util-linux makes, and in pipes.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::gesso;
use crate::support::{Bench, checkout, decode, quick, run};

/// Where a frame begins and ends: the cursor is kept, and goes back.
const FRAME: [&str; 2] = ["\x1b7", "\x1b8"];

/// Steps enough for drafts, of which there is one after four calls of the network.
fn txt2img(out: &Path) -> Vec<String> {
    let models = checkout().join("examples/demo-model");
    let said = "txt2img sea --steps 24 --width 64 --height 64 --seed 1 --dtype f32 --threads 1 --models";
    let mut arguments: Vec<String> = said.split(' ').map(ToOwned::to_owned).collect();
    arguments.extend([models.display().to_string(), "--out".into(), out.display().to_string()]);
    arguments
}

/// A terminal of this name and no other.
fn named(mut command: Command, term: &str) -> Command {
    for variable in ["TERM_PROGRAM", "LC_TERMINAL", "COLORTERM", "TMUX", "STY"] {
        command.env_remove(variable);
    }
    command.env("TERM", term);
    command
}

/// What a terminal is sent by a command that has to succeed.
fn on_a_terminal(term: &str, arguments: &[String]) -> String {
    let mut line = format!("'{}'", env!("CARGO_BIN_EXE_gesso"));
    arguments.iter().for_each(|argument| line.push_str(&format!(" '{argument}'")));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.stdin(std::process::Stdio::null());
    let (code, output, errors) = run(named(command, term));
    assert_eq!(code, 0, "{output} {errors}");
    output
}

#[test]
fn a_pipe_gets_pictures_only_when_they_are_wanted_and_the_file_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (shown, unseen) = (folder.path().join("shown.png"), folder.path().join("unseen.png"));
    let mut always = named(gesso(&[]), "xterm-256color");
    always.args(txt2img(&shown)).args(["--preview", "always"]);
    let (code, output, errors) = run(always);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(output.lines().count(), 1, "standard output is for the path: {output}");
    assert!(errors.contains("\x1b[38;5;") && errors.contains('▀'), "{errors:?}");
    assert!(errors.matches(FRAME[0]).count() >= 2, "a draft and the picture: {errors:?}");
    assert_eq!(errors.matches(FRAME[0]).count(), errors.matches(FRAME[1]).count());

    let mut auto = named(gesso(&[]), "xterm-256color");
    auto.args(txt2img(&unseen));
    let (code, _, errors) = run(auto);
    assert_eq!(code, 0, "{errors}");
    assert!(!errors.contains('\x1b'), "{errors:?}");
    assert!(std::fs::read(&shown).unwrap() == std::fs::read(&unseen).unwrap(), "another picture");
}

#[test]
fn a_terminal_is_sent_drafts_in_one_place_and_then_the_picture_that_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    let sent = on_a_terminal("xterm-kitty", &txt2img(&out));
    let pictures: Vec<_> = sent.split("\x1b_Ga=T,f=100,").skip(1).collect();
    assert!(pictures.len() >= 2, "{sent:?}");
    // One number, and back over the draft.
    let number = |picture: &str| picture.split(',').next().unwrap().to_owned();
    assert_eq!(number(pictures[0]), number(pictures[1]));
    assert!(pictures[0].contains("A\r\x1b[J"), "{sent:?}");

    let last = pictures.last().unwrap().split(FRAME[1]).next().unwrap();
    let pieces = last.split_terminator("\x1b\\").map(|piece| piece.split_once(';').unwrap().1);
    let shown = decode(&BASE64_STANDARD.decode(pieces.collect::<String>()).unwrap());
    let file = decode(&std::fs::read(&out).unwrap());
    assert_eq!((shown.width, shown.height), (64, 64));
    assert!(shown.data == file.data, "another picture is shown");
}

#[test]
fn a_terminal_that_shows_text_alone_is_sent_text() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    let sent = on_a_terminal("dumb", &txt2img(&out));
    assert!(sent.contains("64x64, seed 1"), "{sent:?}");
    assert!(!sent.contains(FRAME[0]) && !sent.contains('▀'), "{sent:?}");
    let mut never = txt2img(&out);
    never.extend(["--preview".into(), "never".into()]);
    let sent = on_a_terminal("xterm-256color", &never);
    assert!(!sent.contains(FRAME[0]) && !sent.contains('▀'), "{sent:?}");
}

#[test]
fn pictures_of_a_server_are_shown_too() {
    let bench = Bench::new();
    let server = bench.start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("first.png"), server.picture(&server.post("/txt2img", &quick()).ok())).unwrap();
    let arguments = ["upscale", &path("first.png"), "--out", &path("large.png"), "--url", &server.url];
    let sent = on_a_terminal("xterm-256color", &arguments.map(ToOwned::to_owned));
    assert!(sent.contains(FRAME[0]) && sent.contains('▀') && sent.contains(&path("large.png")), "{sent:?}");

    // Long enough for drafts, which are looked for once a second.
    let mut command = named(gesso(&["txt2img", "sea", "--preview", "always"]), "xterm-256color");
    command.args(["--steps", "150", "--width", "192", "--height", "192", "--url", &server.url]);
    command.args(["--out", &path("sea.png")]);
    let (code, output, errors) = run(command);
    assert_eq!((code, output.trim()), (0, path("sea.png").as_str()), "{errors}");
    assert!(errors.matches(FRAME[0]).count() >= 2, "a draft and the picture: {errors:?}");
}
