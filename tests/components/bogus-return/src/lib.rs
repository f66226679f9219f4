//! Hostile: `before` returns a string of 2 GiB that its memory does not hold. The host must find out before it
//! allocates anything of that size. Goes behind the SDK's back, which would never let it.

use gesso_plugin::__private::request_hook as bindings;

use bindings::gesso::plugin::types::Fault;
use bindings::{Guest, Image, Verdict};

struct BogusReturn;

impl Guest for BogusReturn {
    fn before(params: String) -> Result<Verdict, Fault> {
        let (pointer, _length, _capacity) = params.into_raw_parts();
        let length = std::hint::black_box(i32::MAX as usize);
        // SAFETY: none, on purpose. Only the pointer and the length are looked at, by the host.
        #[expect(unsafe_code, reason = "the point of this guest")]
        let bogus = unsafe { String::from_raw_parts(pointer, length, length) };
        Ok(Verdict::Replaced(bogus))
    }

    fn after(_params: String, outputs: Vec<Image>) -> Result<Vec<Image>, Fault> {
        Ok(outputs)
    }
}

const _: () = {
    gesso_plugin::__embed_manifest!("manifest.json");
    bindings::export_request_hook!(BogusReturn with_types_in bindings);
};
