//! What crosses between a guest and the host is looked at before it is believed: places, lengths, texts, handles. What breaks
//! the canonical ABI ends its own call, by the right reason, in bounded time and memory, while others are served.

use crate::handmade::Handmade;
use crate::neighbours::Neighbours;
use crate::support::{TestHost, repository};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin_host::FailureKind::{self, BadReturn, Cpu, Memory, Trap};
use gesso_plugin_host::{CallContext, HookError, OnFailure, Policy};
use std::time::{Duration, Instant};

const PLAIN: Handmade = Handmade::PLAIN;
const ID: &str = "handmade";
/// Longer than the budget of a call, and a busy machine.
const CALL_MAX: Duration = Duration::from_secs(8);

/// A place that no memory has, aligned to anything.
const NOWHERE: &str = "(i32.const -16)";

/// Each fails in that hook, for that reason, with that in its sentence.
type Case = (&'static str, Handmade, &'static str, FailureKind, &'static str);

async fn all_fail(cases: &[Case]) {
    let test = TestHost::start().await;
    let neighbours = Neighbours::start(&test).await;
    // What is counted of an id goes on over its removals.
    for ((what, guest, hook, kind, says), count) in cases.iter().zip(1..) {
        test.host.install(guest.component(ID)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let started = Instant::now();
        let failed = match *hook {
            "before" => test.before("a hill").await.map(drop),
            _ => after(&test).await.map(drop),
        };
        let Err(HookError::PluginFailed { hook: failed_in, reason, message, .. }) = &failed else {
            panic!("{what} ended as {failed:?}")
        };
        println!("{what}: {message} ({:?})", started.elapsed());
        assert_eq!((*failed_in, *reason), (*hook, *kind), "{what}: {message}");
        assert!(message.contains(says), "{what}: {message}");
        assert!(started.elapsed() < CALL_MAX, "{what} took {:?}", started.elapsed());
        let status = test.host.get(ID).unwrap();
        assert_eq!(status.failures, count, "{what}");
        assert!(status.memory_peak_bytes <= 64 << 20, "{what}: {} bytes", status.memory_peak_bytes);
        test.host.remove(ID).await.unwrap();
    }
    neighbours.were_served().await;
}

/// The `after` hooks on two pictures.
async fn after(test: &TestHost) -> Result<Vec<Pixels>, HookError> {
    let picture = |level| Pixels::new(8, 8, PixelFormat::Gray8, vec![level; 64]).unwrap();
    let after = test.host.after(&CallContext::new("test", 7), "{}", vec![picture(1), picture(2)]).await?;
    Ok(after.pictures.into_iter().map(|made| made.picture).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_by_hand_that_behaves_is_served() {
    let test = TestHost::start().await;
    test.host.install(PLAIN.component(ID)).await.unwrap();
    assert_eq!(test.before("a hill").await.unwrap(), "a hill");
    let pictures = after(&test).await.unwrap();
    assert_eq!(pictures.iter().map(|picture| picture.data[0]).collect::<Vec<_>>(), [1, 2]);
    test.host.remove(ID).await.unwrap();

    // One that has the host write everything to one place spoils its own memory: the list came last, and holds.
    let overlapping = Handmade { realloc: "(i32.const 4096)", ..PLAIN };
    test.host.install(overlapping.component(ID)).await.unwrap();
    assert_eq!(after(&test).await.unwrap().len(), 2);
    assert_eq!(test.host.get(ID).unwrap().failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allocator_that_misbehaves_ends_its_call() {
    let realloc = |realloc| Handmade { realloc, ..PLAIN };
    all_fail(&[
        ("allocates nowhere", realloc(NOWHERE), "before", BadReturn, "realloc return"),
        ("allocates askew", realloc("(i32.const 4097)"), "after", BadReturn, "not aligned"),
        ("spins", realloc("(loop $on (br $on)) (unreachable)"), "before", Cpu, "processor time"),
        // The way from guest to host to guest and on: there is none, so that no recursion goes through the host.
        (
            "calls the host",
            realloc("(drop (call $seed)) (i32.const 4096)"),
            "before",
            Trap,
            "cannot leave component instance",
        ),
        (
            "grows",
            realloc(
                "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)",
            ),
            "before",
            Memory,
            "memory",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_none_ends_its_call() {
    // `ok(replaced)` with the text at 64.
    const TEXT: &str = "(i32.store8 (i32.const 20) (i32.const 1)) (i32.store (i32.const 24) (i32.const 64)) \
                        (i32.store (i32.const 28) (i32.const 2)) (i32.store (i32.const 64) (i32.const 0xd800d800)) \
                        (i32.const 16)";
    let before = |before| Handmade { before, ..PLAIN };
    let after = |after| Handmade { after, ..PLAIN };
    all_fail(&[
        ("a result nowhere", before(NOWHERE), "before", BadReturn, "out of bounds"),
        ("a result askew", before("(i32.const 18)"), "before", BadReturn, "not aligned"),
        (
            "a result of no case",
            before("(i32.store8 (i32.const 16) (i32.const 7)) (i32.const 16)"),
            "before",
            BadReturn,
            "discriminant",
        ),
        (
            "a verdict of no case",
            before("(i32.store8 (i32.const 20) (i32.const 7)) (i32.const 16)"),
            "before",
            BadReturn,
            "discriminant",
        ),
        (
            "a list of 2 GiB",
            after("(i32.store (i32.const 40) (i32.const 0x20000000)) (i32.const 32)"),
            "after",
            BadReturn,
            "out of bounds",
        ),
        (
            "a list askew",
            after(
                "(i32.store (i32.const 36) (i32.const 50)) (i32.store (i32.const 40) (i32.const 1)) (i32.const 32)",
            ),
            "after",
            BadReturn,
            "not aligned",
        ),
        (
            "a million handles that are none",
            Handmade {
                memory: "64",
                after: "(i32.store (i32.const 40) (i32.const 1000000)) (i32.const 32)",
                ..PLAIN
            },
            "after",
            BadReturn,
            "handle",
        ),
        ("a text that is no UTF-8", before(TEXT), "before", BadReturn, "utf-8"),
        (
            "half a surrogate pair",
            Handmade { before: TEXT, encoding: "string-encoding=utf16", ..PLAIN },
            "before",
            BadReturn,
            "surrogate",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_is_not_the_guests_ends_its_call() {
    const UNKNOWN: &str = "unknown handle";
    let after = |after| Handmade { after, ..PLAIN };
    all_fail(&[
        (
            "guesses",
            Handmade { before: "(call $drop (i32.const 3)) (i32.const 16)", ..PLAIN },
            "before",
            BadReturn,
            UNKNOWN,
        ),
        (
            "drops twice",
            after(
                "(call $drop (i32.load (local.get $pictures))) (call $drop (i32.load (local.get $pictures))) (i32.const 32)",
            ),
            "after",
            BadReturn,
            UNKNOWN,
        ),
        (
            "gives back what it dropped",
            after(
                "(call $drop (i32.load (local.get $pictures))) (i32.store (i32.const 36) (local.get $pictures)) \
                 (i32.store (i32.const 40) (local.get $count)) (i32.const 32)",
            ),
            "after",
            BadReturn,
            UNKNOWN,
        ),
        (
            "gives one back twice",
            after(
                "(i32.store (i32.const 48) (i32.load (local.get $pictures))) \
                 (i32.store (i32.const 52) (i32.load (local.get $pictures))) (i32.store (i32.const 36) (i32.const 48)) \
                 (i32.store (i32.const 40) (i32.const 2)) (i32.const 32)",
            ),
            "after",
            BadReturn,
            UNKNOWN,
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_and_a_table_have_an_end() {
    let before = "(call $down) (i32.const 16)";
    all_fail(&[
        (
            "calls itself",
            Handmade { more: "(func $down (call $down))", before, ..PLAIN },
            "before",
            Trap,
            "overflowed its stack",
        ),
        // The host works at every depth, the last one too, on a part of the stack that guests do not reach; and so does the
        // allocator that it calls.
        (
            "calls the host at every depth",
            Handmade {
                realloc: "(i32.const 4096)",
                more: "(func $down (call $request-id (i32.const 8)) (call $down))",
                before,
                ..PLAIN
            },
            "before",
            Trap,
            "overflowed its stack",
        ),
        (
            "grows a table",
            Handmade {
                more: "(table $table 1 funcref)",
                before: "(loop $on (br_if $on (i32.ne (table.grow $table (ref.null func) (i32.const 10000)) \
                         (i32.const -1)))) (unreachable)",
                ..PLAIN
            },
            "before",
            Memory,
            "memory",
        ),
    ])
    .await;
}

/// Memories, stacks and tables come from pools, and went through other hands before.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_finds_nothing_of_those_before_it() {
    const ROUNDS: u64 = 20;
    let test = TestHost::start().await;
    // Divides by zero at the first byte that is not zero, and leaves ones behind. Ends in a trap for a request of odd length, so
    // that what crashed is seen to be cleared too. 2 MiB, since the pool clears the first by hand and has the kernel do the rest.
    let probe = Handmade {
        memory: "32",
        before: "(local $at i32) (local.set $at (i32.const 8192)) \
                 (loop $on \
                   (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) \
                     (then (drop (i32.div_u (i32.const 1) (i32.const 0))))) \
                   (i64.store (local.get $at) (i64.const -1)) \
                   (local.set $at (i32.add (local.get $at) (i32.const 8))) \
                   (br_if $on (i32.lt_u (local.get $at) (i32.const 2097152)))) \
                 (if (i32.and (local.get $length) (i32.const 1)) (then (unreachable))) \
                 (i32.const 16)",
        ..PLAIN
    };
    let tenants = ["first", "second"];
    for id in tenants {
        test.host.install(probe.component(id)).await.unwrap();
        let skip = Policy { on_failure: Some(OnFailure::Skip.into()), ..Policy::default() };
        test.host.configure(id, skip).await.unwrap();
    }
    for _ in 0..ROUNDS {
        for prompt in ["a", "ab"] {
            assert_eq!(test.before(prompt).await.unwrap(), prompt);
        }
    }
    for id in tenants {
        let log: Vec<String> = test.host.logs(id).into_iter().map(|line| line.text).collect();
        assert!(!log.iter().any(|line| line.contains("divide by zero")), "{id}: {log:#?}");
        assert!(log.iter().any(|line| line.contains("unreachable")), "{id}: {log:#?}");
        assert_eq!(test.host.get(id).unwrap().failures, ROUNDS, "{id}");
    }
}

/// Then none can be held past a call: what a guest is given is its own, or the host's.
#[test]
fn no_export_of_the_contract_lends_a_guest_anything() {
    let mut exports = 0;
    for version in std::fs::read_dir(repository().join("wit")).unwrap() {
        let text = std::fs::read_to_string(version.unwrap().path().join("worlds.wit")).unwrap();
        for line in text.lines().filter(|line| line.trim_start().starts_with("export ")) {
            assert!(!line.contains("borrow<"), "{line}: test that it cannot be kept, in crossing.rs");
            exports += 1;
        }
    }
    assert!(exports >= 9, "{exports} exports were looked at");
}
