//! Puts libtorch's folder on the run path of this crate's tests and examples, so that they start without
//! `LD_LIBRARY_PATH`. A binary that uses this crate needs the same line in its own build script.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Some(folder) = std::env::var_os("LIBTORCH") {
        let folder = std::path::PathBuf::from(folder);
        let folder = folder.canonicalize().unwrap_or(folder);
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.join("lib").display());
    }
}
