//! How a communicator is asked for: non-blocking, everything else left to NCCL.
//!
//! C callers get this from a macro; cudarc has the struct but not the macro, and NCCL refuses one whose size, magic or version is wrong.

use std::ffi::{c_int, c_uint};

use cudarc::nccl::sys::ncclConfig_t;

/// The version whose `ncclConfig_t` is filled in, that of libtorch 2.11. A newer NCCL takes defaults for what it added since; an older one
/// reads as much as it knows.
const CONFIG_VERSION: c_uint = 22_809;
const CONFIG_MAGIC: c_uint = 0xcafe_beef;
/// `NCCL_CONFIG_UNDEF_INT`.
const UNDEFINED: c_int = c_int::MIN;
/// `NCCL_CONFIG_INITIALIZER` by hand, with `blocking = 0`. The size given is that of NCCL 2.28: fields behind it belong to later versions.
pub(super) fn non_blocking() -> ncclConfig_t {
    ncclConfig_t {
        size: std::mem::offset_of!(ncclConfig_t, graphUsageMode),
        magic: CONFIG_MAGIC,
        version: CONFIG_VERSION,
        blocking: 0,
        cgaClusterSize: UNDEFINED,
        minCTAs: UNDEFINED,
        maxCTAs: UNDEFINED,
        netName: std::ptr::null(),
        splitShare: UNDEFINED,
        trafficClass: UNDEFINED,
        commName: std::ptr::null(),
        collnetEnable: UNDEFINED,
        CTAPolicy: UNDEFINED,
        shrinkShare: UNDEFINED,
        nvlsCTAs: UNDEFINED,
        nChannelsPerNetPeer: UNDEFINED,
        nvlinkCentricSched: UNDEFINED,
        graphUsageMode: UNDEFINED,
        numRmaCtx: UNDEFINED,
        maxP2pPeers: UNDEFINED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_has_the_layout_of_nccl_2_28_and_asks_for_no_blocking() {
        let config = non_blocking();
        // sizeof(ncclConfig_t) of nccl.h 2.28.9 on 64-bit machines, and the offsets of its pointers.
        assert_eq!(config.size, 80);
        assert_eq!(std::mem::offset_of!(ncclConfig_t, blocking), 16);
        assert_eq!(std::mem::offset_of!(ncclConfig_t, netName), 32);
        assert_eq!(std::mem::offset_of!(ncclConfig_t, commName), 48);
        assert_eq!(
            (config.magic, config.version, config.blocking),
            (0xcafe_beef, 22_809, 0)
        );
        assert_eq!((config.maxCTAs, config.nvlinkCentricSched), (i32::MIN, i32::MIN));
    }
}
