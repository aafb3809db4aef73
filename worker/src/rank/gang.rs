//! The ranks of a job, seen from one of them: its place among them, and the collective that connects them.

use std::time::Duration;

use firn_collective::{Buffer, Collective, RingListener, RingOptions, nccl, solo::Solo};
use firn_proto::v1alpha1::World;
use tch::{Device, Tensor};
use tracing::info;

use super::{coordinator::Coordinator, failure::RankFailure, settings::RankArguments};

/// This rank's place in the gang.
pub(super) struct Gang {
    /// From 0.
    pub(super) rank: u32,
    /// Ranks in the gang.
    pub(super) world_size: u32,
    /// Where tensors live.
    pub(super) device: Device,
    collective: Box<dyn Collective>,
    host: Vec<f32>,
}

impl Gang {
    /// Joins, waits for the others, and connects to them.
    pub(super) fn join(coordinator: &Coordinator, arguments: &RankArguments) -> Result<(Self, World), RankFailure> {
        let device = parse_device(&arguments.device)?;
        let listener = RingListener::bind(&arguments.address)?;
        let world = coordinator.join(&listener.address(), &arguments.device)?;
        let world_size = u32::try_from(world.ring_addresses.len()).expect("a gang has fewer than 2^32 ranks");
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
                let mine = if world.rank == 0 {
                    nccl::unique_id()?.to_vec()
                } else {
                    Vec::new()
                };
                let id = coordinator.share_collective_id(mine)?;
                let id = id.try_into().map_err(|id: Vec<u8>| {
                    RankFailure::Spec(format!("the NCCL unique id has {} bytes, and must have 128", id.len()))
                })?;
                let options = nccl::NcclOptions {
                    deadline,
                    ..Default::default()
                };
                Box::new(nccl::Nccl::connect(
                    world.rank,
                    world_size,
                    &id,
                    ordinal_of(device)?,
                    options,
                )?)
            }
            _ => {
                let options = RingOptions {
                    deadline,
                    session: session_of(&arguments.job),
                    ..Default::default()
                };
                Box::new(listener.connect(world.rank, &world.ring_addresses, world.generation, options)?)
            }
        };
        Ok((
            Self {
                rank: world.rank,
                world_size,
                device,
                collective,
                host: Vec::new(),
            },
            world,
        ))
    }

    /// A gang whose ranks are already connected.
    #[cfg(test)]
    pub(super) fn over(collective: Box<dyn Collective>) -> Self {
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
    pub(super) fn all_reduce_sum(&mut self, flat: &mut Tensor) -> Result<(), RankFailure> {
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

fn parse_device(name: &str) -> Result<Device, RankFailure> {
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
