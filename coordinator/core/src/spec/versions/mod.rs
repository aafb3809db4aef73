//! Earlier forms of the stored spec. What was stored once is read for ever, and means the same.
//!
//! Each form is a room of its own: the types as they were, and their conversion from and to the present ones.

pub mod initial;
