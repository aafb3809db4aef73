//! The ranks of a job, seen from one of them: its place among them, and the collective that connects them.
//!
//! A gang lasts one generation. The next one is a new value with a new collective: a fresh listener, or a new NCCL id, so that nothing of
//! an earlier generation can arrive in it.

use std::time::Duration;

use firn_collective::{
    AbortHandle, Buffer, Collective, CollectiveError, RingListener, RingOptions,
    nccl::{self, Nccl, NcclOptions, NcclPlace},
    solo::Solo,
};
use firn_proto::v1alpha1::World;
use tch::{Device, Kind, Tensor};
use tracing::info;

use crate::rank::{coordinator::Coordinator, failure::RankFailure, settings::RankArguments, stop_reason::StopReason};

/// This rank's place in the gang.
pub(crate) struct Gang {
    /// From 0.
    pub(crate) rank: u32,
    /// Ranks in the gang.
    pub(crate) world_size: u32,
    /// Where tensors live.
    pub(crate) device: Device,
    collective: Box<dyn Collective>,
    host: Vec<f32>,
}

impl Gang {
    /// A rank that is in no gang: alone, before its first one and between two.
    pub(crate) fn apart(device: Device) -> Self {
        Self {
            rank: 0,
            world_size: 1,
            device,
            collective: Box::new(Solo::new()),
            host: Vec::new(),
        }
    }

    /// Connects to the other ranks of a world. The pulse can abort it from the beginning.
    pub(crate) fn connect(
        coordinator: &Coordinator,
        arguments: &RankArguments,
        listener: RingListener,
        world: &World,
    ) -> Result<Self, StopReason> {
        let device = parse_device(&arguments.device)?;
        let world_size = u32::try_from(world.ring_addresses.len()).expect("a gang has fewer than 2^32 ranks");
        let abort = listener.abort_handle();
        coordinator.heartbeat().enter(world.generation, &abort);
        info!(
            rank = world.rank,
            world_size,
            generation = world.generation,
            collective = world.collective,
            "the gang is complete"
        );
        let deadline = Duration::from_secs(arguments.collective_timeout);
        let collective: Box<dyn Collective> = match world.collective.as_str() {
            "solo" => Box::new(Solo::new()),
            "nccl" => {
                let place = NcclPlace {
                    rank: world.rank,
                    world_size,
                    device: ordinal_of(device)?,
                };
                let options = NcclOptions {
                    deadline,
                    ..NcclOptions::default()
                };
                Box::new(connect_nccl(coordinator, place, options, abort)?)
            }
            _ => {
                let options = RingOptions {
                    deadline,
                    session: session_of(&arguments.job),
                    ..RingOptions::default()
                };
                Box::new(listener.connect(world.rank, &world.ring_addresses, world.generation, options)?)
            }
        };
        Ok(Self {
            rank: world.rank,
            world_size,
            device,
            collective,
            host: Vec::new(),
        })
    }

    /// Gives the collective up: neighbours that still wait for this rank need not, and no farewell is exchanged with ranks that may be gone.
    pub(crate) fn abort(&mut self) {
        self.collective.abort_handle().abort();
        *self = Self::apart(self.device);
    }

    /// A gang whose ranks are already connected.
    #[cfg(test)]
    pub(crate) fn over(collective: Box<dyn Collective>) -> Self {
        Self {
            rank: collective.rank(),
            world_size: collective.world_size(),
            device: Device::Cpu,
            collective,
            host: Vec::new(),
        }
    }

    /// Sums a flat float tensor over all ranks, in place.
    ///
    /// # Errors
    /// When another rank is lost, or does not take part in time.
    pub(crate) fn all_reduce_sum(&mut self, flat: &mut Tensor) -> Result<(), StopReason> {
        if self.world_size == 1 {
            return Ok(());
        }
        let elements = flat.numel();
        match self.device {
            Device::Cuda(_) => {
                let pointer = flat.data_ptr() as u64;
                self.collective.all_reduce_sum(Buffer::Device { pointer, elements })?;
            }
            _ => {
                self.host.resize(elements, 0.0);
                flat.f_copy_data(&mut self.host, elements)?;
                self.collective.all_reduce_sum(Buffer::Host(&mut self.host))?;
                flat.f_copy_(&Tensor::f_from_slice(&self.host)?)?;
            }
        }
        Ok(())
    }

    /// The bytes of rank `root`, on every rank; what the others give is not looked at.
    ///
    /// # Errors
    /// As [`Gang::all_reduce_sum`].
    pub(crate) fn broadcast(&mut self, payload: Vec<u8>, root: u32) -> Result<Vec<u8>, StopReason> {
        if self.world_size == 1 {
            return Ok(payload);
        }
        let mut length = pack(&(payload.len() as u64).to_le_bytes());
        self.broadcast_words(&mut length, root)?;
        let length: &[u8] = bytemuck::cast_slice(&length);
        let length = u64::from_le_bytes(length.try_into().expect("two words have 8 bytes")) as usize;
        let mut words = if self.rank == root {
            pack(&payload)
        } else {
            vec![0; length.div_ceil(4)]
        };
        self.broadcast_words(&mut words, root)?;
        let mut bytes = bytemuck::cast_slice(&words).to_vec();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Broadcasts bit patterns: collectives move f32 and calculate nothing in a broadcast.
    fn broadcast_words(&mut self, words: &mut [u32], root: u32) -> Result<(), StopReason> {
        match self.device {
            Device::Cuda(_) => {
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
                let there = Tensor::f_from_data_size(bytes, &[bytes.len() as i64], Kind::Uint8)?;
                let there = there.f_to_device(self.device)?;
                let (pointer, elements) = (there.data_ptr() as u64, bytes.len() / 4);
                self.collective.broadcast(Buffer::Device { pointer, elements }, root)?;
                there.f_to_device(Device::Cpu)?.f_copy_data_u8(bytes, bytes.len())?;
            }
            _ => self
                .collective
                .broadcast(Buffer::Host(bytemuck::cast_slice_mut(words)), root)?,
        }
        Ok(())
    }
}

/// Bytes as words, the last one filled up with zeros.
fn pack(bytes: &[u8]) -> Vec<u32> {
    let mut words = vec![0; bytes.len().div_ceil(4)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    words
}

fn connect_nccl(
    coordinator: &Coordinator,
    place: NcclPlace,
    options: NcclOptions,
    abort: AbortHandle,
) -> Result<Nccl, StopReason> {
    let mine = match place.rank {
        0 => nccl::unique_id()?.to_vec(),
        _ => Vec::new(),
    };
    let id = coordinator.share_collective_id(mine)?;
    let id = id.try_into().map_err(|id: Vec<u8>| {
        RankFailure::Directive(format!("gave an NCCL unique id of {} bytes instead of 128", id.len()))
    })?;
    Ok(Nccl::connect_abortable(place, &id, options, abort)?)
}

/// A door for the neighbours of the coming gang.
pub(crate) fn listen(arguments: &RankArguments) -> Result<RingListener, CollectiveError> {
    RingListener::bind(&arguments.address)
}

/// The same number on all ranks of a job, so that a reused port of another job is noticed.
fn session_of(job: &str) -> u64 {
    let digest = blake3::hash(job.as_bytes());
    u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
}

fn ordinal_of(device: Device) -> Result<u32, RankFailure> {
    match device {
        Device::Cuda(ordinal) => Ok(u32::try_from(ordinal).expect("a machine has few GPUs")),
        _ => Err(RankFailure::Spec(
            "NCCL needs GPU slots, and this rank has a CPU slot".to_owned(),
        )),
    }
}

/// The device that the agent named.
pub(crate) fn parse_device(name: &str) -> Result<Device, RankFailure> {
    match name {
        "cpu" => Ok(Device::Cpu),
        _ => match name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()) {
            Some(ordinal) => Ok(Device::Cuda(ordinal)),
            None => Err(RankFailure::Spec(format!(
                "device is {name:?}, and must be `cpu` or `cuda:N`"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Two ranks over a ring on this machine.
    fn pair() -> [Gang; 2] {
        let listeners = [0, 1].map(|_| RingListener::bind("127.0.0.1").unwrap());
        let addresses: Vec<String> = listeners.iter().map(RingListener::address).collect();
        let ranks = (0u32..).zip(listeners).map(|(rank, listener)| {
            let addresses = addresses.clone();
            thread::spawn(move || Gang {
                rank,
                world_size: 2,
                collective: Box::new(listener.connect(rank, &addresses, 1, RingOptions::default()).unwrap()),
                ..Gang::apart(Device::Cpu)
            })
        });
        let ranks: Vec<_> = ranks.collect();
        let ranks: Vec<Gang> = ranks.into_iter().map(|rank| rank.join().unwrap()).collect();
        ranks.try_into().map_err(|_| "two ranks").unwrap()
    }

    #[test]
    fn any_bytes_arrive_as_they_are() {
        // Signalling NaNs, negative zeros and subnormal numbers, as floats would see them; lengths that are no whole number of words.
        let patterns = [0x7fa0_0001_u32, 0xffa0_0001, 0x8000_0000, 1, 0x7f80_0000];
        let long: Vec<u8> = (0..100_003u32)
            .flat_map(|n| patterns[n as usize % 5].wrapping_add(n).to_le_bytes())
            .collect();
        let payloads: [Vec<u8>; 5] = [
            Vec::new(),
            vec![7],
            patterns.iter().flat_map(|word| word.to_le_bytes()).collect(),
            long[..99_999].to_vec(),
            long,
        ];
        let [mut first, mut second] = pair();
        let expected = payloads.clone();
        let other = thread::spawn(move || {
            let mut taken = Vec::new();
            for (root, payload) in (0..).zip(payloads) {
                let mine = if root % 2 == 1 { payload } else { vec![9; 3] };
                taken.push(second.broadcast(mine, root % 2).unwrap());
            }
            taken
        });
        for (root, payload) in (0..).zip(&expected) {
            let mine = if root % 2 == 0 { payload.clone() } else { Vec::new() };
            assert_eq!(&first.broadcast(mine, root % 2).unwrap(), payload);
        }
        assert_eq!(other.join().unwrap(), expected);
    }

    #[test]
    fn a_rank_alone_keeps_its_bytes() {
        assert_eq!(Gang::apart(Device::Cpu).broadcast(vec![1, 2, 3], 0).unwrap(), [1, 2, 3]);
    }
}
