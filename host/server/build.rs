//! Puts the folder of libtorch on the binary's run path, so that it starts without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Ok(libtorch) = std::env::var("LIBTORCH") {
        let folder = std::path::Path::new(&libtorch);
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}/lib", folder.display());
    }
}
