//! What children say that could not become their programs, until it is asked for.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd, OwnedFd};

use super::Spawner;
use crate::spawn::stage::{Failure, RECORD};

impl Spawner {
    /// What is known of children that have failed and are not reaped yet.
    pub(crate) fn failures(&mut self) -> impl Iterator<Item = (i32, Failure)> {
        self.read_failures();
        self.failures.iter().map(|(pid, failure)| (*pid, *failure))
    }

    /// Where the failures of children that were forked are read.
    pub(crate) fn failure_reader(&self) -> &impl AsRawFd {
        &self.failure_reader
    }

    /// Goes on with what another knew, and will be told.
    pub(crate) fn take_over(
        &mut self,
        failures: impl Iterator<Item = (i32, Failure)>,
        reader: Option<OwnedFd>,
    ) {
        self.failures.extend(failures);
        self.earlier_reader = reader.map(File::from);
    }

    /// Why a child that has been reaped with status [`crate::spawn::child::FAILED`] did not
    /// become its program; none if that is the program's own status.
    pub(crate) fn failure_of(&mut self, pid: i32) -> Option<Failure> {
        self.read_failures();
        let of_stub = self.stubs.forget(pid);
        self.failures.remove(&pid).or(of_stub)
    }

    /// To be told of a child that has been reaped with another status: one that has said why
    /// it failed, and was killed before it ended, must not be heard of under the next one's
    /// pid.
    pub(crate) fn forget_failure(&mut self, pid: i32) {
        let _ = self.stubs.forget(pid);
        if !self.failures.is_empty() {
            self.failures.remove(&pid);
        }
    }

    fn read_failures(&mut self) {
        let mut record = [0u8; RECORD];
        let readers = self.earlier_reader.iter_mut().chain([&mut self.failure_reader]);
        for reader in readers {
            // Writes of one record are atomic, so no read returns a part of one.
            while let Ok(RECORD) = reader.read(&mut record) {
                self.failures.extend(Failure::of_record(record));
            }
        }
    }
}
