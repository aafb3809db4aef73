//! Why a connection was not made, or broke: the causes in one line, and of certificates what they mean here.

use std::error::Error;

use firn_core::trust::with_advice;

/// An error and all that caused it.
pub(crate) fn reason(error: &dyn Error) -> String {
    with_advice(super::causes(error))
}
