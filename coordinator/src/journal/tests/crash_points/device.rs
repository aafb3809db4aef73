//! A disk in memory that records what is done to it, and what a crash may leave of that.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use redb::StorageBackend;

use super::{CACHE, Journal, JournalError, SEED};

const SECTOR: usize = 512;

#[derive(Debug, Clone)]
pub(super) enum Operation {
    Write { offset: usize, data: Arc<[u8]> },
    Resize(usize),
    Sync,
}

/// A disk in memory that notes what is done to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Recording>>);

#[derive(Debug, Default)]
struct Recording {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
}

impl Recorder {
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Recording {
            bytes,
            operations: Vec::new(),
        })))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Recording) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn count(&self) -> usize {
        self.with(|recording| recording.operations.len())
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.with(|recording| recording.bytes.clone())
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        self.with(|recording| recording.operations.clone())
    }

    pub(super) fn open(&self) -> Result<Journal, JournalError> {
        let path = PathBuf::from("memory");
        let database = redb::Builder::new()
            .set_cache_size(CACHE)
            .create_with_backend(self.clone())
            .map_err(|source| JournalError::from_open(&path, source))?;
        Journal::with_database(path, database, None)
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.with(|recording| recording.bytes.len() as u64))
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let offset = offset as usize;
        self.with(|recording| match recording.bytes.get(offset..offset + out.len()) {
            Some(found) => {
                out.copy_from_slice(found);
                Ok(())
            }
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        })
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.with(|recording| recording.perform(Operation::Resize(len as usize)));
        Ok(())
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.with(|recording| recording.perform(Operation::Sync));
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let (offset, data) = (offset as usize, Arc::from(data));
        self.with(|recording| recording.perform(Operation::Write { offset, data }));
        Ok(())
    }
}

impl Recording {
    fn perform(&mut self, operation: Operation) {
        apply(&mut self.bytes, &operation);
        self.operations.push(operation);
    }
}

pub(super) fn apply(bytes: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write { offset, data } => {
            bytes.resize(bytes.len().max(offset + data.len()), 0);
            bytes[*offset..offset + data.len()].copy_from_slice(data);
        }
        Operation::Resize(length) => bytes.resize(*length, 0),
        Operation::Sync => {}
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of(case: [u64; 4]) -> Self {
        let mut random = Self(SEED);
        for part in case {
            random.0 = random.next() ^ part;
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What a disk holds after a crash: `synced`, and of the operations after it what the variant says.
pub(super) fn image(synced: &[u8], pending: &[Operation], variant: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = synced.to_vec();
    match variant {
        0 => {}
        1 => pending.iter().for_each(|operation| apply(&mut bytes, operation)),
        _ => {
            let mut order: Vec<&Operation> = pending.iter().collect();
            for place in (1..order.len()).rev() {
                order.swap(place, random.below(place + 1));
            }
            for operation in order {
                match (random.below(3), operation) {
                    (0, _) => {}
                    (1, Operation::Write { offset, data }) => tear(&mut bytes, *offset, data, random),
                    _ => apply(&mut bytes, operation),
                }
            }
        }
    }
    bytes
}

/// Writes some of the sectors.
fn tear(bytes: &mut Vec<u8>, offset: usize, data: &[u8], random: &mut Random) {
    let mut from = 0;
    while from < data.len() {
        let to = data.len().min((offset + from) / SECTOR * SECTOR + SECTOR - offset);
        if random.below(2) == 0 {
            let part = Operation::Write {
                offset: offset + from,
                data: Arc::from(&data[from..to]),
            };
            apply(bytes, &part);
        }
        from = to;
    }
}
