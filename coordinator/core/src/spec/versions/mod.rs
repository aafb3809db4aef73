//! Earlier forms of the stored spec. What was stored once is read for ever, and means the same.
//!
//! Each form is a file of its own: how it says what the document says, and how a job is said in it.

pub mod initial;
