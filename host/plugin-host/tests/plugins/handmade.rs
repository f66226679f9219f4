//! Request hooks written by hand, in WebAssembly's text format, for what no compiler of guests would make. Knows the
//! canonical ABI's layout of `before` and `after`, and nothing of what the host makes of it.

use gesso_plugin_host::{Assets, pack_component};

/// What differs between one and another. Bodies are those of functions, in folded form.
#[derive(Clone, Copy)]
pub(crate) struct Handmade {
    /// Pages of 64 KiB.
    pub(crate) memory: &'static str,
    /// `$old`, `$old-size`, `$align` and `$size` to a place; may call `$seed`, which asks the host.
    pub(crate) realloc: &'static str,
    /// Fields of the module beside its functions: tables, memories, functions.
    pub(crate) more: &'static str,
    /// `$params` and `$length` to the place of a result; may call `$seed`, `$request-id` and `$drop`.
    pub(crate) before: &'static str,
    /// The same with `$pictures` and `$count`, the list of handles.
    pub(crate) after: &'static str,
    /// Of its texts; empty for UTF-8.
    pub(crate) encoding: &'static str,
}

impl Handmade {
    /// Changes nothing and gives every picture back. Memory is zero up to where `realloc` begins, so that 16 is the place of
    /// `ok(unchanged)` and 32 that of `ok` with a list.
    pub(crate) const PLAIN: Self = Self {
        memory: "1",
        realloc: "(global.get $next) (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get $size)) \
                  (i32.const 7)) (i32.const -8)))",
        more: "",
        before: "(i32.const 16)",
        after: "(i32.store (i32.const 36) (local.get $pictures)) (i32.store (i32.const 40) (local.get $count)) (i32.const 32)",
        encoding: "",
    };

    /// The component, with its manifest.
    pub(crate) fn component(&self, id: &str) -> Vec<u8> {
        with_manifest(id, &self.bare())
    }

    /// The component, with a manifest that says more.
    pub(crate) fn with(&self, manifest: &serde_json::Value) -> Vec<u8> {
        packed(&self.bare(), manifest)
    }

    fn bare(&self) -> Vec<u8> {
        let Self { memory, realloc, more, before, after, encoding } = self;
        let options = format!(
            "(memory (core memory $libc \"memory\")) (realloc (core func $libc \"realloc\")) {encoding}"
        );
        let text = format!(
            r#"(component
  (import "gesso:plugin/images@0.1.0" (instance $images (export "image" (type (sub resource)))))
  (import "gesso:plugin/call@0.1.0" (instance $call
    (export "seed" (func (result u64)))
    (export "request-id" (func (result string)))))
  (alias export $images "image" (type $image))
  (type $a-fault (variant (case "invalid-input" string) (case "not-permitted" string) (case "limit-exceeded" string)
    (case "cancelled") (case "deadline-exceeded") (case "unavailable" string) (case "other" string)))
  (export $fault "fault" (type $a-fault))
  (type $a-verdict (variant (case "unchanged") (case "replaced" string) (case "rejected" string)))
  (export $verdict "verdict" (type $a-verdict))
  (core func $seed (canon lower (func $call "seed")))
  (core func $drop (canon resource.drop $image))
  (core instance $asked (export "seed" (func $seed)))
  (core module $libc
    (import "host" "seed" (func $seed (result i64)))
    (memory (export "memory") {memory})
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      {realloc}))
  (core instance $libc (instantiate $libc (with "host" (instance $asked))))
  (core func $request-id (canon lower (func $call "request-id")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core instance $host (export "seed" (func $seed)) (export "drop" (func $drop)) (export "request-id" (func $request-id)))
  (core module $main
    (import "host" "seed" (func $seed (result i64)))
    (import "host" "drop" (func $drop (param i32)))
    (import "host" "request-id" (func $request-id (param i32)))
    (import "libc" "memory" (memory 0))
    {more}
    (func (export "before") (param $params i32) (param $length i32) (result i32) {before})
    (func (export "after") (param $params i32) (param $length i32) (param $pictures i32) (param $count i32) (result i32)
      {after}))
  (core instance $main (instantiate $main (with "host" (instance $host)) (with "libc" (instance $libc))))
  (func (export "before") (param "params" string) (result (result $verdict (error $fault)))
    (canon lift (core func $main "before") {options}))
  (func (export "after") (param "params" string) (param "outputs" (list (own $image)))
    (result (result (list (own $image)) (error $fault)))
    (canon lift (core func $main "after") {options})))"#
        );
        component(&text)
    }
}

/// Of WebAssembly's text format.
pub(crate) fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// That of a request hook.
pub(crate) fn with_manifest(id: &str, component: &[u8]) -> Vec<u8> {
    let manifest =
        serde_json::json!({ "id": id, "version": "0.1.0", "api": "0.1.0", "worlds": ["request-hook"] });
    packed(component, &manifest)
}

fn packed(component: &[u8], manifest: &serde_json::Value) -> Vec<u8> {
    pack_component(component, manifest.to_string().as_bytes(), &Assets::default()).unwrap().0
}
