//! The gRPC services: thin translators between the wire and the engine.

pub mod wire;
