//! What a rank pins before it computes anything: in a strict job, everything that could change a bit.
//!
//! On a CPU the kernels of libtorch, oneDNN and MKL cut their work by the number of threads, and sums come out differently in the last
//! bits. With ResNet-18 above `layer3` the gradients of one and two threads differ, with MobileNetV2 already the frozen features. One
//! thread is the only number that every rank has, whatever its share of a machine: a strict job wants as many slots as cores. The
//! shape of a batch matters, too (the same samples in batches of 4 and 8 give other gradients); that is why slices are cut alike everywhere.
//!
//! On a GPU cuDNN must not time its algorithms and take the fastest, as it does for all other jobs: few shapes come again and again, and
//! the first batches pay for it. Where stages train, some of its gradients are sums in no fixed order; libtorch's own kernels take its
//! place there, which are slower. cuBLAS needs its workspace fixed before it is loaded: the agent sets `CUBLAS_WORKSPACE_CONFIG` for
//! ranks on GPUs. Bits are only promised between devices of one kind.

use firn_core::spec::{Determinism, JobSpec};
use tch::{Cuda, Device};
use tracing::info;

/// Pins what the job's determinism asks for, in the calling thread, which is the one that computes.
pub(crate) fn pin(spec: &JobSpec, device: Device) {
    let is_strict = spec.training.determinism == Determinism::Strict;
    let on_gpu = matches!(device, Device::Cuda(_));
    if on_gpu {
        Cuda::cudnn_set_benchmark(!is_strict);
    }
    if !is_strict {
        return;
    }
    tch::set_num_threads(1);
    if on_gpu {
        Cuda::set_user_enabled_cudnn(spec.model.freeze.trains_head_alone());
    }
    info!("strict: one thread computes, and sums have one order");
}
