//! One rank of an NCCL communicator that can always be given up.
//!
//! Work goes to the legacy default stream, on which libtorch's kernels run, so it is ordered with them and needs no events. Each operation
//! returns when the stream has come to its end: only so can a deadline hold, because a kernel that waits for a lost rank never ends by itself.
//! The gradients of a head are small, and the optimizer needs the sum at once, so nothing is lost by waiting.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::sys::{CUresult, cuStreamQuery};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError};
use cudarc::nccl::sys::ncclComm_t;

use super::config::non_blocking;
use super::library::{FLOAT32, IN_PROGRESS, Library, SUCCESS, SUM, Status, from_bytes};
use super::wait::Wait;
use super::{UniqueId, presence};
use crate::{AbortHandle, Buffer, Collective, CollectiveError, Operation};

/// Longest time that finishing in the friendly way may take when the communicator is dropped.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct NcclOptions {
    /// Of each operation, from its call on this rank: includes waiting for slower ranks.
    pub deadline: Duration,
    /// For the forming of the communicator.
    pub connect_deadline: Duration,
}

impl Default for NcclOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(300),
            connect_deadline: Duration::from_secs(120),
        }
    }
}

/// Which rank a communicator is of.
#[derive(Debug, Clone, Copy)]
pub struct NcclPlace {
    /// From 0.
    pub rank: u32,
    /// Number of ranks.
    pub world_size: u32,
    /// CUDA device.
    pub device: u32,
}

/// One rank of a gang on GPUs.
#[derive(Debug)]
pub struct Nccl {
    rank: u32,
    world_size: u32,
    deadline: Duration,
    abort: AbortHandle,
    library: &'static Library,
    communicator: Communicator,
    context: Arc<CudaContext>,
    /// One number on the device, for barriers.
    token: CudaSlice<f32>,
    stream: Arc<CudaStream>,
    broken: Option<String>,
}

/// The C object; null when it was given up.
#[derive(Debug)]
struct Communicator(ncclComm_t);

// SAFETY: NCCL allows any one thread at a time; the owner is `&mut` in every call, and binds the CUDA context to its thread first.
unsafe impl Send for Communicator {}

impl Nccl {
    /// Forms the communicator of `id` on CUDA device `device`. All ranks of the generation call it with the same id.
    ///
    /// # Errors
    /// [`CollectiveError::NcclMissing`] before anything is tried; [`CollectiveError::Nccl`]; [`CollectiveError::DeadlineExpired`].
    pub fn connect(
        rank: u32,
        world_size: u32,
        id: &UniqueId,
        device: u32,
        options: NcclOptions,
    ) -> Result<Self, CollectiveError> {
        let abort = AbortHandle::with_wake().map_err(|source| CollectiveError::Socket {
            rank,
            what: "make an event descriptor",
            source,
        })?;
        let place = NcclPlace {
            rank,
            world_size,
            device,
        };
        Self::connect_abortable(place, id, options, abort)
    }

    /// As [`Nccl::connect`], which `abort` ends, too.
    ///
    /// # Errors
    /// As [`Nccl::connect`]; [`CollectiveError::Aborted`].
    pub fn connect_abortable(
        place: NcclPlace,
        id: &UniqueId,
        options: NcclOptions,
        abort: AbortHandle,
    ) -> Result<Self, CollectiveError> {
        let NcclPlace {
            rank,
            world_size,
            device,
        } = place;
        if let Some(reason) = presence().missing {
            return Err(CollectiveError::NcclMissing { reason });
        }
        let library = Library::get().map_err(|reason| CollectiveError::NcclMissing {
            reason: reason.to_owned(),
        })?;
        if rank >= world_size {
            return Err(CollectiveError::InvalidWorld {
                rank,
                world_size,
                addresses: world_size as usize,
            });
        }
        let cuda = |call| {
            move |error: DriverError| CollectiveError::Nccl {
                rank,
                call,
                reason: format!("{error:?}"),
            }
        };
        let context = CudaContext::new(device as usize).map_err(cuda("cuDevicePrimaryCtxRetain"))?;
        let stream = context.default_stream();
        let token = stream.alloc_zeros::<f32>(1).map_err(cuda("cuMemAlloc"))?;
        let deadline = options.deadline;
        let communicator = Communicator(null_mut());
        let mut nccl = Self {
            rank,
            world_size,
            deadline,
            abort,
            library,
            communicator,
            context,
            token,
            stream,
            broken: None,
        };
        let outcome = nccl.form(id, options.connect_deadline);
        if let Err(error) = &outcome {
            nccl.broken = Some(error.to_string());
        }
        outcome.map(|()| nccl)
    }

    fn form(&mut self, id: &UniqueId, within: Duration) -> Result<(), CollectiveError> {
        let abort = self.abort.clone();
        let _running = abort.begin_connect();
        let (rank, operation) = (self.rank, Operation::Connect);
        let wait = Wait {
            rank,
            operation,
            sequence: 0,
            within,
            started: Instant::now(),
            abort: &abort,
        };
        let mut config = non_blocking();
        // SAFETY: the out-pointer and the config live through the call; the context of the device is bound to this thread by its creation.
        let status = unsafe {
            (self.library.comm_init_rank_config)(
                &raw mut self.communicator.0,
                self.world_size as c_int,
                from_bytes(id),
                rank as c_int,
                &raw mut config,
            )
        };
        self.settle("ncclCommInitRankConfig", status, &wait)
    }

    /// Polls until the communicator has no call in progress.
    fn settle(&self, call: &'static str, status: Status, wait: &Wait<'_>) -> Result<(), CollectiveError> {
        let mut state = status;
        while state == IN_PROGRESS {
            wait.pass(&format!("{call} is in progress on the other ranks"))?;
            state = self.async_error();
        }
        if state == SUCCESS {
            Ok(())
        } else {
            Err(self.failed(call, state))
        }
    }

    fn async_error(&self) -> Status {
        // While the communicator is being formed there may be none to ask yet.
        if self.communicator.0.is_null() {
            return IN_PROGRESS;
        }
        let mut state = SUCCESS;
        // SAFETY: the communicator is alive and this is the only thread that calls NCCL with it.
        let status = unsafe { (self.library.comm_get_async_error)(self.communicator.0, &raw mut state) };
        if status == SUCCESS { state } else { status }
    }

    fn failed(&self, call: &'static str, status: Status) -> CollectiveError {
        // SAFETY: the communicator is null or alive.
        let reason = unsafe { self.library.last_error(self.communicator.0, status) };
        CollectiveError::Nccl {
            rank: self.rank,
            call,
            reason,
        }
    }

    /// Numbers and runs one operation to the end of the stream; any error is the last one, and gives the communicator up.
    fn operate(
        &mut self,
        operation: Operation,
        call: &'static str,
        start: impl FnOnce(&Self) -> Status,
    ) -> Result<(), CollectiveError> {
        let abort = self.abort.clone();
        let running = abort.begin_operation(operation);
        let (rank, sequence) = (self.rank, running.sequence);
        let wait = Wait {
            rank,
            operation,
            sequence,
            within: self.deadline,
            started: Instant::now(),
            abort: &abort,
        };
        let outcome = match &self.broken {
            _ if abort.is_aborted() => Err(CollectiveError::Aborted {
                rank,
                operation,
                sequence,
            }),
            Some(cause) => {
                return Err(CollectiveError::Broken {
                    rank,
                    operation,
                    sequence,
                    cause: cause.clone(),
                });
            }
            None => self.run(call, start, &wait),
        };
        if let Err(error) = &outcome {
            tracing::debug!(rank, sequence, %error, "collective failed");
            self.broken.get_or_insert_with(|| error.to_string());
            self.give_up();
        }
        outcome
    }

    fn run(
        &self,
        call: &'static str,
        start: impl FnOnce(&Self) -> Status,
        wait: &Wait<'_>,
    ) -> Result<(), CollectiveError> {
        let cuda = |call, reason| CollectiveError::Nccl {
            rank: self.rank,
            call,
            reason,
        };
        self.context
            .bind_to_thread()
            .map_err(|error| cuda("cuCtxSetCurrent", format!("{error:?}")))?;
        let status = start(self);
        self.settle(call, status, wait)?;
        loop {
            let state = self.async_error();
            if state != SUCCESS && state != IN_PROGRESS {
                return Err(self.failed(call, state));
            }
            // SAFETY: asks for the state of the legacy default stream of the context that is bound to this thread.
            match unsafe { cuStreamQuery(null_mut()) } {
                CUresult::CUDA_SUCCESS => return Ok(()),
                CUresult::CUDA_ERROR_NOT_READY => wait.pass("the other ranks have not all joined in")?,
                other => return Err(cuda("cuStreamQuery", format!("{other:?}"))),
            }
        }
    }

    /// Frees the communicator without asking the other ranks, and ends its kernels.
    fn give_up(&mut self) {
        let communicator = std::mem::replace(&mut self.communicator.0, null_mut());
        if !communicator.is_null() {
            // SAFETY: alive until here, never used again; no other thread is inside an NCCL call with it.
            unsafe { (self.library.comm_abort)(communicator) };
        }
    }

    fn device(&self, buffer: &Buffer<'_>) -> Result<(*mut c_void, usize), CollectiveError> {
        match *buffer {
            // A device address is a number here; only the GPU follows it.
            Buffer::Device { pointer, elements } => Ok((pointer as *mut c_void, elements)),
            Buffer::Host(_) => Err(CollectiveError::WrongBuffer {
                collective: "nccl",
                expected: "device",
                found: buffer.place(),
            }),
        }
    }

    fn start_all_reduce(&self, pointer: *mut c_void, elements: usize) -> Status {
        // SAFETY: the caller of the trait promises that `elements` f32 lie at `pointer` until the operation has ended; null is the legacy
        // default stream; the communicator is alive, or the call would have been refused.
        unsafe {
            (self.library.all_reduce)(
                pointer,
                pointer,
                elements,
                FLOAT32,
                SUM,
                self.communicator.0,
                null_mut(),
            )
        }
    }
}

impl Collective for Nccl {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn world_size(&self) -> u32 {
        self.world_size
    }

    fn all_reduce_sum(&mut self, buffer: Buffer<'_>) -> Result<(), CollectiveError> {
        let (pointer, elements) = self.device(&buffer)?;
        self.operate(Operation::AllReduceSum, "ncclAllReduce", |nccl| {
            nccl.start_all_reduce(pointer, elements)
        })
    }

    fn broadcast(&mut self, buffer: Buffer<'_>, root: u32) -> Result<(), CollectiveError> {
        let world_size = self.world_size;
        if root >= world_size {
            return Err(CollectiveError::InvalidRoot { root, world_size });
        }
        let (pointer, elements) = self.device(&buffer)?;
        self.operate(Operation::Broadcast, "ncclBroadcast", |nccl| {
            let root = root as c_int;
            // SAFETY: as in `start_all_reduce`.
            unsafe {
                (nccl.library.broadcast)(
                    pointer,
                    pointer,
                    elements,
                    FLOAT32,
                    root,
                    nccl.communicator.0,
                    null_mut(),
                )
            }
        })
    }

    fn barrier(&mut self) -> Result<(), CollectiveError> {
        let pointer = self.token.device_ptr(&self.stream).0;
        self.operate(Operation::Barrier, "ncclAllReduce", |nccl| {
            nccl.start_all_reduce(pointer as *mut c_void, 1)
        })
    }

    fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    fn sequence(&self) -> u64 {
        self.abort.sequence()
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        if self.communicator.0.is_null() {
            return;
        }
        if self.broken.is_none() && !self.abort.is_aborted() && self.context.bind_to_thread().is_ok() {
            // SAFETY: alive, and nothing is in progress.
            let status = unsafe { (self.library.comm_finalize)(self.communicator.0) };
            let (rank, operation, sequence) = (self.rank, Operation::Barrier, self.abort.sequence());
            let wait = Wait {
                rank,
                operation,
                sequence,
                within: FAREWELL,
                started: Instant::now(),
                abort: &self.abort,
            };
            if self.settle("ncclCommFinalize", status, &wait).is_ok() {
                let communicator = std::mem::replace(&mut self.communicator.0, null_mut());
                // SAFETY: finalised, and never used again.
                unsafe { (self.library.comm_destroy)(communicator) };
            }
        }
        self.give_up();
    }
}
