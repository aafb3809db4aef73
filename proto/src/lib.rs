//! The wire of Firn: the messages and services of `firn.v1alpha1`, generated from the files in `proto/firn/v1alpha1`.
//!
//! What is generated lies in `generated`, so that nobody has to compile the generator; a test in `proto/generation` holds it to the definitions and,
//! with `BLESS=1 cargo test --release -p firn-proto-generation`, writes it anew.
//!
//! No logic lives here. The messages that people write as YAML also implement serde under camelCase names and refuse
//! unknown fields; everything else is protobuf only.

/// Package `firn.v1alpha1`. Every message, field and call is documented in the `.proto` files.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1alpha1 {
    include!("generated/firn.v1alpha1.rs");
}

/// The encoded `FileDescriptorSet` of the package, for server reflection and for naming the fields of a message.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/firn_descriptor.bin");
