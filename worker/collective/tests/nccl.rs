//! NCCL on real GPUs. Each test is ignored by name where there are none; `make test` runs them where there are.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr};
use firn_collective::nccl::{self, Nccl, NcclOptions, UniqueId};
use firn_collective::{Buffer, Collective, CollectiveError};

const LIMIT: NcclOptions = NcclOptions {
    deadline: Duration::from_secs(60),
    connect_deadline: Duration::from_secs(60),
};

/// Whether there are so many GPUs. NCCL itself must be usable: who runs these tests has a GPU.
fn gpus(least: u32) -> bool {
    let presence = nccl::presence();
    assert!(presence.usable(), "{presence}");
    if presence.devices >= least {
        return true;
    }
    // Written past the capture of the test harness, so that the skip is seen.
    let _ = writeln!(std::io::stderr(), "skipped: needs {least} GPUs: {presence}");
    false
}

fn on_device(stream: &std::sync::Arc<CudaStream>, values: &[f32]) -> (CudaSlice<f32>, u64) {
    let slice = stream.clone_htod(values).unwrap();
    let pointer = slice.device_ptr(stream).0;
    (slice, pointer)
}

/// Sum, broadcast and barrier of one rank; the caller runs all ranks at once.
fn take_part(rank: u32, world: u32, id: &UniqueId, device: u32) {
    let mut nccl = Nccl::connect(rank, world, id, device, LIMIT).unwrap();
    let stream = CudaContext::new(device as usize).unwrap().default_stream();
    for elements in [1usize, 1000, 1_000_000] {
        let values: Vec<f32> = (0..elements).map(|index| (index % 100) as f32 + rank as f32).collect();
        let (slice, pointer) = on_device(&stream, &values);
        nccl.all_reduce_sum(Buffer::Device { pointer, elements }).unwrap();
        let ranks: f32 = (0..world).map(|rank| rank as f32).sum();
        let expected: Vec<f32> = (0..elements)
            .map(|index| (index % 100) as f32 * world as f32 + ranks)
            .collect();
        assert!(stream.clone_dtoh(&slice).unwrap() == expected);
        let (slice, pointer) = on_device(&stream, &values);
        nccl.broadcast(Buffer::Device { pointer, elements }, world - 1).unwrap();
        let expected: Vec<f32> = (0..elements)
            .map(|index| (index % 100) as f32 + (world - 1) as f32)
            .collect();
        assert!(stream.clone_dtoh(&slice).unwrap() == expected);
    }
    nccl.barrier().unwrap();
    assert_eq!(nccl.sequence(), 7);
    let error = nccl.all_reduce_sum(Buffer::Host(&mut [0.0])).unwrap_err();
    assert_eq!(error.to_string(), "nccl takes device buffers, found a host buffer");
}

#[test]
#[ignore = "needs a GPU"]
fn one_rank_on_one_gpu_keeps_its_values() {
    if gpus(1) {
        take_part(0, 1, &nccl::unique_id().unwrap(), 0);
    }
}

#[test]
#[ignore = "needs a GPU"]
fn two_ranks_on_two_gpus_add_up() {
    if gpus(2) {
        let id = nccl::unique_id().unwrap();
        std::thread::scope(|scope| {
            for rank in 0..2 {
                let id = &id;
                scope.spawn(move || take_part(rank, 2, id, rank));
            }
        });
    }
}

/// The settings under which one GPU holds two ranks: each process claims to be another host.
fn rank_process(rank: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "two_ranks_on_one_gpu_add_up_when_they_claim_different_hosts",
            "--nocapture",
            "--include-ignored",
        ])
        .envs([
            ("NCCL_NET", "Socket"),
            ("NCCL_SOCKET_IFNAME", "lo"),
            ("NCCL_MNNVL_ENABLE", "0"),
        ])
        .env("NCCL_HOSTID", format!("host{rank}"))
        .env("FIRN_TEST_RANK", rank);
    command
}

fn to_hex(id: &UniqueId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> UniqueId {
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

/// The test starts itself twice. Rank 0 makes the id, since its process has to answer the others, and prints it.
#[test]
#[ignore = "needs a GPU"]
fn two_ranks_on_one_gpu_add_up_when_they_claim_different_hosts() {
    match std::env::var("FIRN_TEST_RANK").as_deref() {
        Ok("0") => {
            let id = nccl::unique_id().unwrap();
            println!("\nid {}", to_hex(&id));
            return take_part(0, 2, &id, 0);
        }
        Ok(_) => return take_part(1, 2, &from_hex(&std::env::var("FIRN_TEST_ID").unwrap()), 0),
        Err(_) if !gpus(1) => return,
        Err(_) => {}
    }
    let mut first = rank_process("0").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let mut ids = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("id ").map(str::to_owned));
    let id = ids.next().expect("rank 0 prints the id");
    let mut second = rank_process("1").env("FIRN_TEST_ID", id).spawn().unwrap();
    // Reading on keeps rank 0's pipe open.
    assert_eq!(ids.count(), 0);
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
}

#[test]
#[ignore = "needs a GPU"]
fn a_rank_that_never_comes_ends_the_forming_at_the_deadline() {
    if gpus(1) {
        let brief = NcclOptions {
            connect_deadline: Duration::from_millis(500),
            ..LIMIT
        };
        let error = Nccl::connect(0, 2, &nccl::unique_id().unwrap(), 0, brief).unwrap_err();
        assert!(matches!(error, CollectiveError::DeadlineExpired { .. }), "{error}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn an_aborted_rank_takes_no_more_work() {
    if gpus(1) {
        let mut nccl = Nccl::connect(0, 1, &nccl::unique_id().unwrap(), 0, LIMIT).unwrap();
        nccl.abort_handle().abort();
        assert!(matches!(nccl.barrier(), Err(CollectiveError::Aborted { .. })));
        assert!(matches!(nccl.barrier(), Err(CollectiveError::Aborted { .. })));
    }
}
