//! The statuses with which a rank exits. The agent passes them on, and the coordinator tells from them whether starting again could help.

use nix::sys::signal::Signal;

/// The user's spec or data is wrong, memory does not hold the batch, or the coordinator refused what it would refuse again.
pub(crate) const USER: u8 = 10;
/// The numbers broke.
pub(crate) const NUMERICAL: u8 = 11;
/// The coordinator told the rank to stop.
pub(crate) const STOPPED: u8 = 12;
/// The worker is drained or preempted; nothing is lost.
pub(crate) const LEFT: u8 = 13;
/// Anything else.
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
