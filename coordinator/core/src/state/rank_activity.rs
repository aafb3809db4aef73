//! What ranks say in a pulse that they do.

/// Data and model are loaded.
pub const PREPARING: &str = "preparing";
/// The next generation is waited for.
pub const JOINING: &str = "joining";
/// Optimizer steps.
pub const TRAINING: &str = "training";
/// Shards are read or scored.
pub const IN_A_PASS: &str = "in a pass";
/// All shards of the pass are with other ranks.
pub const WAITING: &str = "waiting for shards";
/// A checkpoint is written.
pub const STORING: &str = "storing";
/// Artifacts are written.
pub const FINISHING: &str = "finishing";
