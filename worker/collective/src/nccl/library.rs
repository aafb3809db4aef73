//! Finds NCCL and holds the few of its functions that Firn calls.
//!
//! Places, in this order: `FIRN_NCCL`; the library that this process has loaded already; beside the libtorch that this process uses, and where a
//! Python install keeps NCCL next to torch; the dynamic loader's own search. Two copies of NCCL in one process must not be: that is why the
//! one that libtorch uses comes first.
//!
//! Results are taken as plain integers: a number that these bindings do not know would be undefined behaviour as a Rust enum.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclConfig_t, ncclUniqueId};
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use super::UniqueId;
use crate::CollectiveError;

const FILE: &str = "libnccl.so.2";
/// `RTLD_NOLOAD` of Linux: only if it is loaded already.
const RTLD_NOLOAD: c_int = 4;

/// `ncclResult_t`.
pub(super) type Status = c_int;
pub(super) const SUCCESS: Status = 0;
pub(super) const IN_PROGRESS: Status = 7;
/// `ncclFloat32` of `ncclDataType_t`.
pub(super) const FLOAT32: c_int = 7;
/// `ncclSum` of `ncclRedOp_t`.
pub(super) const SUM: c_int = 0;
/// The first NCCL with non-blocking communicators.
const MINIMUM_VERSION: c_int = 21_400;

/// NCCL, loaded once and never unloaded.
#[derive(Debug)]
pub(super) struct Library {
    path: String,
    get_version: unsafe extern "C" fn(*mut c_int) -> Status,
    get_unique_id: unsafe extern "C" fn(*mut ncclUniqueId) -> Status,
    get_error_string: unsafe extern "C" fn(Status) -> *const c_char,
    get_last_error: unsafe extern "C" fn(ncclComm_t) -> *const c_char,
    pub(super) comm_init_rank_config:
        unsafe extern "C" fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t) -> Status,
    pub(super) comm_get_async_error: unsafe extern "C" fn(ncclComm_t, *mut Status) -> Status,
    pub(super) comm_finalize: unsafe extern "C" fn(ncclComm_t) -> Status,
    pub(super) comm_destroy: unsafe extern "C" fn(ncclComm_t) -> Status,
    pub(super) comm_abort: unsafe extern "C" fn(ncclComm_t) -> Status,
    pub(super) all_reduce:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, ncclComm_t, cudaStream_t) -> Status,
    pub(super) broadcast:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, ncclComm_t, cudaStream_t) -> Status,
    /// Keeps the functions valid.
    _handle: Handle,
}

impl Library {
    /// The library, or what is missing and what to do.
    pub(super) fn get() -> Result<&'static Self, &'static str> {
        static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
        LIBRARY.get_or_init(Self::find).as_ref().map_err(String::as_str)
    }

    fn find() -> Result<Self, String> {
        if let Some(file) = std::env::var_os("FIRN_NCCL") {
            let file = PathBuf::from(file);
            let handle = open(&file, RTLD_NOW | RTLD_LOCAL)
                .map_err(|error| format!("FIRN_NCCL cannot be loaded: {}; check the path", explain(&error)))?;
            return Self::bind(handle);
        }
        if let Ok(handle) = open(Path::new(FILE), RTLD_NOW | RTLD_NOLOAD) {
            return Self::bind(handle);
        }
        let mut tried = Vec::new();
        for file in candidates(&mapped_files()) {
            match open(&file, RTLD_NOW | RTLD_LOCAL) {
                Ok(handle) => return Self::bind(handle),
                Err(_) => tried.push(file.display().to_string()),
            }
        }
        Err(format!(
            "no NCCL library (tried {}): install it with `deploy/libtorch.sh --cuda`, or the Python package nvidia-nccl-cu13, and name the \
             file in FIRN_NCCL",
            tried.join(", ")
        ))
    }

    fn bind(handle: Handle) -> Result<Self, String> {
        let path = mapped_files().into_iter().find(|file| name_starts(file, "libnccl.so"));
        let path = path.map_or_else(|| FILE.to_owned(), |path| path.display().to_string());
        // SAFETY: each field's type is the C prototype of that function in nccl.h, unchanged since 2.14; enums are ints there.
        unsafe {
            Ok(Self {
                get_version: symbol(&handle, &path, "ncclGetVersion")?,
                get_unique_id: symbol(&handle, &path, "ncclGetUniqueId")?,
                get_error_string: symbol(&handle, &path, "ncclGetErrorString")?,
                get_last_error: symbol(&handle, &path, "ncclGetLastError")?,
                comm_init_rank_config: symbol(&handle, &path, "ncclCommInitRankConfig")?,
                comm_get_async_error: symbol(&handle, &path, "ncclCommGetAsyncError")?,
                comm_finalize: symbol(&handle, &path, "ncclCommFinalize")?,
                comm_destroy: symbol(&handle, &path, "ncclCommDestroy")?,
                comm_abort: symbol(&handle, &path, "ncclCommAbort")?,
                all_reduce: symbol(&handle, &path, "ncclAllReduce")?,
                broadcast: symbol(&handle, &path, "ncclBroadcast")?,
                path,
                _handle: handle,
            })
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// For example `2.28.9`; an error says what to do about a version that is too old.
    pub(super) fn version(&self) -> Result<String, String> {
        let mut code = 0;
        // SAFETY: writes one int.
        let status = unsafe { (self.get_version)(&raw mut code) };
        if status != SUCCESS {
            return Err(format!(
                "ncclGetVersion of {} failed: {}; check the file",
                self.path,
                self.explain(status)
            ));
        }
        let version = format!("{}.{}.{}", code / 10_000, code / 100 % 100, code % 100);
        if code < MINIMUM_VERSION {
            return Err(format!(
                "NCCL {version} ({}) is too old: install 2.14 or later",
                self.path
            ));
        }
        Ok(version)
    }

    pub(super) fn unique_id(&self) -> Result<UniqueId, CollectiveError> {
        let mut id = ncclUniqueId { internal: [0; 128] };
        // SAFETY: writes 128 bytes.
        let status = unsafe { (self.get_unique_id)(&raw mut id) };
        if status != SUCCESS {
            // SAFETY: a null communicator asks for the last error of this thread's calls.
            let reason = unsafe { self.last_error(std::ptr::null_mut(), status) };
            return Err(CollectiveError::Nccl {
                rank: 0,
                call: "ncclGetUniqueId",
                reason,
            });
        }
        Ok(to_bytes(&id))
    }

    fn explain(&self, status: Status) -> String {
        // SAFETY: NCCL returns a static string for any number.
        let text = unsafe { (self.get_error_string)(status) };
        if text.is_null() {
            return format!("result {status}");
        }
        // SAFETY: not null, static and ended by a zero byte.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// The words for a failed call, with the last warning that NCCL kept.
    ///
    /// # Safety
    /// `communicator` is null or alive.
    pub(super) unsafe fn last_error(&self, communicator: ncclComm_t, status: Status) -> String {
        let explained = self.explain(status);
        // SAFETY: the caller's promise; the string belongs to NCCL and is copied at once.
        let detail = unsafe {
            let text = (self.get_last_error)(communicator);
            if text.is_null() {
                String::new()
            } else {
                CStr::from_ptr(text).to_string_lossy().trim().to_owned()
            }
        };
        if detail.is_empty() {
            explained
        } else {
            format!("{explained} ({detail})")
        }
    }
}

/// The dynamic loader's own words, which name the file.
fn explain(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn open(file: &Path, flags: c_int) -> Result<Handle, libloading::Error> {
    // SAFETY: runs the initialisers of NCCL, which only set up its own state.
    unsafe { Handle::open(Some(file), flags) }
}

/// # Safety
/// `F` is a function pointer of the symbol's C type.
unsafe fn symbol<F: Copy>(handle: &Handle, path: &str, name: &str) -> Result<F, String> {
    // SAFETY: the caller's promise; the handle is kept for the life of the process.
    let found = unsafe { handle.get::<F>(name) };
    found
        .map(|symbol| *symbol)
        .map_err(|_| format!("{path} has no function {name}: install NCCL 2.14 or later"))
}

/// The files that are mapped into this process.
fn mapped_files() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .collect()
}

fn name_starts(file: &Path, start: &str) -> bool {
    file.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(start))
}

/// Where NCCL may be, given the files that this process has mapped.
fn candidates(mapped: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Some(folder) = mapped
        .iter()
        .find(|file| name_starts(file, "libtorch_cpu.so"))
        .and_then(|file| file.parent())
    {
        files.push(folder.join(FILE));
        // A Python install: site-packages/torch/lib and site-packages/nvidia/nccl/lib.
        if let Some(packages) = folder.ancestors().nth(2) {
            files.push(packages.join("nvidia/nccl/lib").join(FILE));
        }
    }
    files.extend([FILE, "libnccl.so"].map(PathBuf::from));
    files
}

/// The id as it travels.
fn to_bytes(id: &ncclUniqueId) -> UniqueId {
    id.internal.map(|byte| u8::from_ne_bytes(byte.to_ne_bytes()))
}

/// The id as NCCL takes it.
pub(super) fn from_bytes(bytes: &UniqueId) -> ncclUniqueId {
    ncclUniqueId {
        internal: bytes.map(|byte| c_char::from_ne_bytes(byte.to_ne_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_all_its_bytes() {
        let bytes: UniqueId = std::array::from_fn(|index| (index * 2) as u8);
        assert_eq!(to_bytes(&from_bytes(&bytes)), bytes);
    }

    #[test]
    fn the_library_beside_libtorch_is_tried_before_the_system_s() {
        let mapped = [PathBuf::from("/x/site-packages/torch/lib/libtorch_cpu.so")];
        let expected = [
            "/x/site-packages/torch/lib/libnccl.so.2",
            "/x/site-packages/nvidia/nccl/lib/libnccl.so.2",
            "libnccl.so.2",
            "libnccl.so",
        ];
        assert_eq!(candidates(&mapped), expected.map(PathBuf::from));
        assert_eq!(
            candidates(&[]),
            expected[2..].iter().map(PathBuf::from).collect::<Vec<_>>()
        );
    }
}
