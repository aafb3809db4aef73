//! `firn serve`.

pub mod security;
pub mod settings;

use std::time::Duration;

/// A client that connects and then says nothing in the TLS handshake is let go after this long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
