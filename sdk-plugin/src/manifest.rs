//! How a manifest gets into the component: as the bytes of the custom section `gesso:manifest`, readable without
//! running any of the plugin's code. The host checks what the manifest says; here it only has to be there.

/// Whether the bytes look like a JSON object, for the compile-time check of the register macros.
#[doc(hidden)]
pub const fn is_json_object(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii();
    text.len() >= 2 && text[0] == b'{' && text[text.len() - 1] == b'}'
}

/// Puts the manifest file (a path from the package's folder) into the component.
#[doc(hidden)]
#[macro_export]
macro_rules! __embed_manifest {
    ($manifest:literal) => {
        const MANIFEST: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest));
        const _: () = assert!(
            $crate::__private::is_json_object(MANIFEST),
            concat!("the manifest ", $manifest, " must be a JSON object, see the SDK's README"),
        );
        // SAFETY: custom sections are not loaded into memory; the linker concatenates their bytes, and this static
        // is the only one of that name.
        #[cfg_attr(target_family = "wasm", unsafe(link_section = "gesso:manifest"))]
        #[used]
        static EMBEDDED: [u8; MANIFEST.len()] = {
            let mut bytes = [0; MANIFEST.len()];
            bytes.copy_from_slice(MANIFEST);
            bytes
        };
    };
}

#[cfg(test)]
mod tests {
    use super::is_json_object;

    #[test]
    fn tells_an_object_from_a_forgotten_file() {
        assert!(is_json_object(b" {\"id\": \"a\"}\n"));
        assert!(!is_json_object(b""));
        assert!(!is_json_object(b"id = 'a'"));
        assert!(!is_json_object(b"{"));
    }
}
