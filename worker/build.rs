//! Lets the test binaries of this crate find libtorch where they were built.

fn main() {
    if let Ok(folder) = std::env::var("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}/lib");
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH");
}
