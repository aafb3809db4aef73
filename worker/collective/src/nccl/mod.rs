//! NCCL, for gangs on GPUs. Compiled always; nothing is loaded before it is asked for.
//!
//! `cudarc` gives the types of NCCL's and CUDA's C interfaces and the CUDA driver calls. Two things Firn does itself:
//!
//! - **Finding the library** (the `library` file). cudarc looks for `libnccl.so` but never for `libnccl.so.2`, the only name that NVIDIA's
//!   packages ship, and panics where nothing is found. A link of the right name helps only in a folder that the dynamic loader searches, and
//!   that list is fixed when the process starts. So the file that libtorch uses is opened by its path, and a missing one is a report.
//! - **Staying alive** (the `communicator` file). Communicators are non-blocking, so no thread is ever inside an NCCL call for long: the
//!   thread that works also watches the deadline and the abort, and is the only one that calls `ncclCommAbort`. After a failure nothing
//!   is finalised or destroyed in the friendly way, which could wait for ranks that are gone.
//!
//! Settings: `FIRN_NCCL` names the library file and wins over every other place.

#![allow(unsafe_code, reason = "NCCL and CUDA are C; every block says why it is sound")]

mod communicator;
mod config;
mod library;
mod wait;

pub use communicator::{Nccl, NcclOptions, NcclPlace};

use std::fmt;

use crate::CollectiveError;
use library::Library;

/// Names the gang of one generation: rank 0 makes it, all ranks connect with it, once.
pub type UniqueId = [u8; 128];

/// What this machine has of what NCCL needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The library file that is used.
    pub library: Option<String>,
    /// NCCL's version, for example `2.28.9`.
    pub version: Option<String>,
    /// CUDA devices that the driver shows.
    pub devices: u32,
    /// What is missing and what to do about it; `None`: NCCL can be used.
    pub missing: Option<String>,
}

impl Presence {
    /// Whether [`Nccl::connect`] can work.
    pub fn usable(&self) -> bool {
        self.missing.is_none()
    }
}

impl fmt::Display for Presence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(library), Some(version)) = (&self.library, &self.version) {
            write!(formatter, "NCCL {version} ({library}), {} CUDA devices", self.devices)?;
        } else {
            write!(formatter, "no NCCL library, {} CUDA devices", self.devices)?;
        }
        self.missing
            .as_ref()
            .map_or(Ok(()), |missing| write!(formatter, "; {missing}"))
    }
}

/// Looks for the library and the CUDA driver. Never panics; loads the library, which then stays.
pub fn presence() -> Presence {
    let devices = device_count();
    let (library, version, mut missing) = match Library::get() {
        Ok(library) => match library.version() {
            Ok(version) => (Some(library.path().to_owned()), Some(version), None),
            Err(reason) => (Some(library.path().to_owned()), None, Some(reason)),
        },
        Err(reason) => (None, None, Some(reason.to_owned())),
    };
    let no_device = match &devices {
        Ok(0) => Some("no CUDA device is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES".to_owned()),
        Ok(_) => None,
        Err(reason) => Some(reason.clone()),
    };
    if let Some(reason) = no_device {
        missing = Some(missing.map_or(reason.clone(), |first| format!("{first}; {reason}")));
    }
    Presence {
        library,
        version,
        devices: devices.unwrap_or(0),
        missing,
    }
}

fn device_count() -> Result<u32, String> {
    // SAFETY: opens libcuda.so if it is there; its initialisers are those of the installed driver, which libtorch would run too.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err(
            "no CUDA driver (libcuda.so.1): install NVIDIA's driver, or start the container with GPUs".to_owned(),
        );
    }
    let count = cudarc::driver::CudaContext::device_count();
    count
        .map(|count| count.unsigned_abs())
        .map_err(|error| format!("the CUDA driver answers {error:?}: check nvidia-smi"))
}

/// Makes the id that all ranks of a new generation connect with. One rank makes it; it works once.
///
/// # Errors
/// [`CollectiveError::NcclMissing`]; [`CollectiveError::Nccl`] when NCCL finds no network interface.
pub fn unique_id() -> Result<UniqueId, CollectiveError> {
    Library::get()
        .map_err(|reason| CollectiveError::NcclMissing {
            reason: reason.to_owned(),
        })?
        .unique_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presence_report_says_what_is_there_or_what_to_do() {
        let presence = presence();
        println!("{presence}");
        let Some(missing) = &presence.missing else {
            return assert!(presence.library.is_some() && presence.version.is_some() && presence.devices > 0);
        };
        assert!(missing.contains("install") || missing.contains("check"), "{missing}");
        let error = Nccl::connect(0, 1, &[0; 128], 0, NcclOptions::default()).unwrap_err();
        assert!(
            error.to_string().starts_with("NCCL cannot be used on this machine: "),
            "{error}"
        );
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn two_ids_are_never_the_same() {
        let (first, second) = (unique_id().unwrap(), unique_id().unwrap());
        assert_ne!(first, second);
    }

    #[test]
    fn a_report_reads_as_one_line() {
        let presence = Presence {
            library: Some("/opt/nccl/libnccl.so.2".to_owned()),
            version: Some("2.28.9".to_owned()),
            devices: 0,
            missing: Some("no CUDA driver".to_owned()),
        };
        assert_eq!(
            presence.to_string(),
            "NCCL 2.28.9 (/opt/nccl/libnccl.so.2), 0 CUDA devices; no CUDA driver"
        );
        assert!(!presence.usable());
    }
}
