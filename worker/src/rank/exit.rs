//! The statuses with which a rank exits. The agent passes them on, and the coordinator tells from them whether starting again could help.

pub(crate) use firn_core::exit_status::{LEFT, NUMERICAL_ERROR, STOPPED, USER_ERROR};
use nix::sys::signal::Signal;

/// Anything that the others do not name.
pub(crate) const BROKEN: u8 = 1;

/// Ends the process from any thread, whatever the others do: no destructor and no exit handler runs.
pub(crate) fn at_once(status: u8) -> ! {
    signal_hook::low_level::exit(i32::from(status))
}

/// Ends the process as SIGTERM would have.
pub(crate) fn by_signal() -> ! {
    let terminate = Signal::SIGTERM as i32;
    // Returns only if the system refuses; the status then says what a shell would.
    let _ = signal_hook::low_level::emulate_default_handler(terminate);
    signal_hook::low_level::exit(128 + terminate)
}
