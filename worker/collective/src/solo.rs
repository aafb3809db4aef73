//! A gang of one: every operation is already done.

use crate::{AbortHandle, Buffer, Collective, CollectiveError, Operation};

/// The only rank of its gang.
#[derive(Debug)]
pub struct Solo {
    abort: AbortHandle,
}

impl Solo {
    /// Rank 0 of 1.
    pub fn new() -> Self {
        Self {
            abort: AbortHandle::without_wake(),
        }
    }

    fn operate(&self, operation: Operation) -> Result<(), CollectiveError> {
        let sequence = self.abort.begin_operation(operation).sequence;
        if self.abort.is_aborted() {
            return Err(CollectiveError::Aborted {
                rank: 0,
                operation,
                sequence,
            });
        }
        Ok(())
    }
}

impl Default for Solo {
    fn default() -> Self {
        Self::new()
    }
}

impl Collective for Solo {
    fn rank(&self) -> u32 {
        0
    }

    fn world_size(&self) -> u32 {
        1
    }

    fn all_reduce_sum(&mut self, _buffer: Buffer<'_>) -> Result<(), CollectiveError> {
        self.operate(Operation::AllReduceSum)
    }

    fn broadcast(&mut self, _buffer: Buffer<'_>, root: u32) -> Result<(), CollectiveError> {
        if root != 0 {
            return Err(CollectiveError::InvalidRoot { root, world_size: 1 });
        }
        self.operate(Operation::Broadcast)
    }

    fn barrier(&mut self) -> Result<(), CollectiveError> {
        self.operate(Operation::Barrier)
    }

    fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    fn sequence(&self) -> u64 {
        self.abort.sequence()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gang_of_one_keeps_its_values_and_counts() {
        let mut solo = Solo::new();
        let mut values = [1.5, -2.0];
        solo.all_reduce_sum(Buffer::Host(&mut values)).unwrap();
        solo.broadcast(Buffer::Host(&mut values), 0).unwrap();
        solo.barrier().unwrap();
        assert_eq!(values, [1.5, -2.0]);
        assert_eq!(solo.sequence(), 3);
    }

    #[test]
    fn a_gang_of_one_can_be_aborted() {
        let mut solo = Solo::new();
        solo.abort_handle().abort();
        assert!(matches!(
            solo.barrier(),
            Err(CollectiveError::Aborted {
                operation: Operation::Barrier,
                ..
            })
        ));
    }

    #[test]
    fn a_gang_of_one_has_no_second_root() {
        let error = Solo::new().broadcast(Buffer::Host(&mut [0.0]), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "broadcast root must be below the world size 1, found 1"
        );
    }
}
