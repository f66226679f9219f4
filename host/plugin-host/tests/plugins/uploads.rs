//! Uploads that are made to hurt: refused for a reason before they are compiled, or by the process that compiles them, or when
//! they are first started. Others are served meanwhile.

use crate::handmade::{Handmade, component, with_manifest};
use crate::neighbours::Neighbours;
use crate::support::TestHost;
use gesso_plugin_host::InstallError;
use std::time::{Duration, Instant};
use wasm_encoder::{
    CodeSection, Component, Function, FunctionSection, Module, ModuleSection, NestedComponentSection,
    TypeSection,
};

/// Beside that of a [`Handmade`].
const EIGHT_MEMORIES: &str =
    "(memory 1) (memory 1) (memory 1) (memory 1) (memory 1) (memory 1) (memory 1) (memory 1)";
/// Each within what a call may take, as a limit on each memory alone would have it.
const SEVEN_LARGE_MEMORIES: &str =
    "(memory 1000) (memory 1000) (memory 1000) (memory 1000) (memory 1000) (memory 1000) (memory 1000)";

/// Far below the time that a compile worker has.
const REFUSAL_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_to_hurt_is_refused_with_its_reason() {
    let test = TestHost::start().await;
    let neighbours = Neighbours::start(&test).await;
    let module = |text: &str| component(&format!("(component (core module {text}))"));
    let with = |more: &'static str| Handmade { more, ..Handmade::PLAIN }.component("handmade");
    let packed = |text: &str| with_manifest("handmade", &component(&format!("(component {text})")));
    let imports: String = (0..300).map(|n| format!("(import \"a:b/c{n}\" (instance))")).collect();
    for (what, bytes, says) in [
        // Before anything is compiled.
        ("more than 64 MiB", vec![0; (64 << 20) + 1], "bytes long"),
        ("components in components", nested(1000), "levels of nesting"),
        ("a quarter of a million functions", module(&"(func)".repeat(250_000)), "functions"),
        ("a function of 10 MB", one_function(10 << 20), "bytes in one function"),
        ("300 imports", component(&format!("(component {imports})")), "imports"),
        // By the compile worker.
        ("a type of a billion values", packed(&wide_type()), "effective type size"),
        ("types in types", packed(&deep_type(1000)), "nesting is too deep"),
        (
            "a function that ends in the middle",
            packed("(core module (func (result i32)))"),
            "does not compile",
        ),
        // When it is loaded and tried.
        ("a world that it does not fill", packed(""), "names the world request-hook, which it does not fill"),
        ("a table of a million", with("(table 1000000 funcref)"), "table"),
        ("nine memories", with(EIGHT_MEMORIES), "memories"),
        ("eight large memories", with(SEVEN_LARGE_MEMORIES), "memories"),
        (
            "a memory above the limit",
            Handmade { memory: "1025", ..Handmade::PLAIN }.component("handmade"),
            "memory",
        ),
        (
            "a memory of 4 GiB",
            Handmade { memory: "65536", ..Handmade::PLAIN }.component("handmade"),
            "memory",
        ),
        // Built for a host that is newer than this one.
        (
            "a newer contract",
            packed("(import \"gesso:plugin/call@0.9.0\" (instance (export \"seed\" (func (result u64)))))"),
            "gesso:plugin/call@0.9.0 (the host offers gesso:plugin@0.1.0)",
        ),
        (
            "a newer WASI",
            packed(
                "(import \"wasi:clocks/monotonic-clock@0.2.99\" (instance (export \"tomorrow\" (func (result u64)))))",
            ),
            "tomorrow",
        ),
    ] {
        let started = Instant::now();
        let refused = test.host.install(bytes).await;
        let Err(InstallError::Refused { reason, .. }) = &refused else {
            panic!("{what} ended as {refused:?}")
        };
        println!("{what}: {reason} ({:?})", started.elapsed());
        assert!(reason.contains(says), "{what}: {reason}");
        assert!(started.elapsed() < REFUSAL_MAX, "{what} took {:?}", started.elapsed());
    }
    neighbours.were_served().await;
}

/// Many functions are slow to compile, and no reason to refuse what a large program has.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_functions_are_compiled_while_others_are_served() {
    let test = TestHost::start().await;
    let neighbours = Neighbours::start(&test).await;
    let many = Handmade { more: "(func)".repeat(100_000).leak(), ..Handmade::PLAIN };
    let started = Instant::now();
    test.host.install(many.component("handmade")).await.unwrap();
    println!("compiled in {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(60), "it took {:?}", started.elapsed());
    assert_eq!(test.before("a hill").await.unwrap(), "a hill");
    neighbours.were_served().await;
}

fn nested(depth: usize) -> Vec<u8> {
    let mut inner = Component::new();
    for _ in 0..depth {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&inner));
        inner = outer;
    }
    inner.finish()
}

/// A module with one function of so many instructions that do nothing.
fn one_function(bytes: usize) -> Vec<u8> {
    const NOP: u8 = 0x01;
    const END: u8 = 0x0b;
    let (mut types, mut functions, mut code) =
        (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    functions.function(0);
    let mut body = Function::new([]);
    body.raw(vec![NOP; bytes]).raw([END]);
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}

/// Ten of ten of ten of …, in a few lines.
fn wide_type() -> String {
    let ten = |of: &str| format!("(tuple {})", [of; 10].join(" "));
    let wider = |n: usize| format!("(type $t{n} {})", ten(&format!("$t{}", n - 1)));
    let first = format!("(type $t0 {})", ten("u64"));
    (1..9).fold(first, |text, n| text + &wider(n))
}

/// A list of lists of lists of ….
fn deep_type(depth: usize) -> String {
    (1..depth)
        .fold("(type $t0 (list u8))".to_owned(), |text, n| text + &format!("(type $t{n} (list $t{}))", n - 1))
}
