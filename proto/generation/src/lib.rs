//! Holds what is generated of the protocol definitions to the definitions.
//!
//! `firn-proto` keeps its generated code in the repository: whoever builds Firn compiles neither the compiler of protocol definitions nor
//! what it stands on. This crate has no binary and nobody depends on it, so it is built with the tests alone. Its build script makes the code
//! anew of the `.proto` files, without an installed `protoc`.

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Whether a file in `proto/src/generated` is what the definitions make of it; with `BLESS` it becomes that.
    fn holds(name: &str) {
        let made = fs::read(Path::new(env!("OUT_DIR")).join(name)).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../src/generated")
            .join(name);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, made).unwrap();
            return;
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(
            found == made,
            "proto/src/generated/{name} is stale; write it anew with: BLESS=1 cargo test --release -p firn-proto-generation"
        );
    }

    #[test]
    fn the_messages_and_services_are_those_of_the_definitions() {
        holds("firn.v1alpha1.rs");
    }

    #[test]
    fn the_descriptors_are_those_of_the_definitions() {
        holds("firn_descriptor.bin");
    }
}
