//! Puts libtorch's folder on the run path, as `host/torch/build.rs` does for its tests.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Some(folder) = std::env::var_os("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", std::path::Path::new(&folder).join("lib").display());
    }
}
