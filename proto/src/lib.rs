//! The wire of Firn: the messages and services of `firn.v1alpha1`, generated from the files in `proto/firn/v1alpha1`.
//!
//! No logic lives here. The messages that people write as YAML also implement serde under camelCase names and refuse
//! unknown fields; everything else is protobuf only.

/// Package `firn.v1alpha1`. Every message, field and call is documented in the `.proto` files.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1alpha1 {
    tonic::include_proto!("firn.v1alpha1");
}

/// The encoded `FileDescriptorSet` of the package, for server reflection and for naming the fields of a message.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/firn_descriptor.bin"));
