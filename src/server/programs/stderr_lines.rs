//! What programs write to standard error: line by line into the log, a bounded
//! amount per turn and per second. A program that writes more waits for us; nobody
//! else does.

mod turns;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _};

use crate::log::events;
use crate::server::reactor::slab::Key;
use crate::server::state::StderrState;
use crate::sys::descriptor::{read_now, set_nonblocking};

/// Bytes read from one program in one turn.
pub(in crate::server) const PER_TURN: usize = 16 * 1024;

/// Bytes read from one program in one second; the rest waits in its pipe.
pub(super) const PER_SECOND: usize = 256 * 1024;

/// What a line counts besides its bytes: in the log it has a head, so that a flood of short
/// lines would be many times what has been written.
const LINE: usize = 8;

/// What is read at once counts as so many bytes at least: whoever makes packets of his pipe
/// (`O_DIRECT`, pipe(2)) would have it read byte by byte.
const READ: usize = 64;

/// Bytes of a line that are logged.
const LONGEST_LINE: usize = 1024;

/// Whether there may be more.
pub(in crate::server) enum PipeFlow {
    Drained,
    More,
    /// The program's end of the pipe is closed.
    End,
}

/// Of pipes and their services, the oldest first: the first of the service that has most. One
/// that leaves many behind must not cost another its only one.
fn surplus(pipes: impl Iterator<Item = (Key, Key)> + Clone) -> Option<Key> {
    let mut counts = HashMap::new();
    for (_, service) in pipes.clone() {
        *counts.entry(service).or_insert(0_usize) += 1;
    }
    let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let mut of_it = pipes.filter(|(_, service)| *service == most);
    of_it.next().map(|(pipe, _)| pipe)
}

pub(super) fn read_some(state: &mut StderrState, scratch: &mut [u8]) -> PipeFlow {
    let buffer = scratch.get_mut(..PER_TURN).unwrap_or_default();
    let mut taken = 0_usize;
    loop {
        match read(state, buffer) {
            Ok(0) => return PipeFlow::End,
            Ok(length) => {
                let lines = take_bytes(state, buffer.get(..length).unwrap_or_default());
                let cost = length.saturating_add(lines.saturating_mul(LINE)).max(READ);
                state.read = state.read.saturating_add(cost);
                taken = taken.saturating_add(length.max(READ));
                // Fewer than asked for: on with the loop, for the end or the drained pipe.
                if taken >= PER_TURN || state.read >= PER_SECOND {
                    return PipeFlow::More;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return PipeFlow::Drained,
            Err(_) => return PipeFlow::End,
        }
    }
}

/// Reads without waiting. A pipe that is not polled yet would make us wait for those who
/// hold the other end, and need not be told not to, for most are read only once.
fn read(state: &mut StderrState, buffer: &mut [u8]) -> io::Result<usize> {
    if !state.registered {
        match read_now(&state.pipe, buffer) {
            Ok(count) => return Ok(count),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Err(error);
            }
            // The kernel, or a filter of system calls, does not have it.
            Err(_) => set_nonblocking(&state.pipe)?,
        }
    }
    state.pipe.read(buffer)
}

/// Logs the lines that are whole now and keeps the beginning of the next; how many there
/// were.
fn take_bytes(state: &mut StderrState, bytes: &[u8]) -> usize {
    let mut pieces = bytes.split(|byte| *byte == b'\n');
    let Some(last) = pieces.next_back() else { return 0 };
    let mut lines = 0_usize;
    for piece in pieces {
        add_to_line(state, piece);
        end_line(state);
        lines = lines.saturating_add(1);
    }
    add_to_line(state, last);
    lines
}

/// Adds to the line; when it is too long, what fits is logged and the rest skipped.
fn add_to_line(state: &mut StderrState, piece: &[u8]) {
    if state.skipping {
        state.dropped = state.dropped.saturating_add(piece.len());
    }
    if state.skipping || piece.is_empty() {
        return;
    }
    let room = LONGEST_LINE.saturating_sub(state.partial.len());
    match piece.get(..room) {
        Some(fits) if piece.len() > room => {
            state.partial.extend_from_slice(fits);
            state.dropped = state.dropped.saturating_add(piece.len().saturating_sub(room));
            events::stderr(&state.label, state.pid, &state.partial, true);
            state.partial = Vec::new();
            state.skipping = true;
        }
        _ => state.partial.extend_from_slice(piece),
    }
}

pub(super) fn end_line(state: &mut StderrState) {
    if !std::mem::take(&mut state.skipping) && !state.partial.is_empty() {
        let line = state.partial.strip_suffix(b"\r").unwrap_or(&state.partial);
        events::stderr(&state.label, state.pid, line, false);
    }
    // An idle program's buffer costs nothing.
    state.partial = Vec::new();
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use nix::fcntl::OFlag;

    use super::*;
    use crate::log::events::Label;
    use crate::server::reactor::slab::Slab;
    use crate::sys::fd;

    fn state_of(pipe: OwnedFd) -> StderrState {
        StderrState {
            pipe: pipe.into(),
            service: Key::NONE,
            label: Label::new("test", None),
            pid: 1,
            partial: Vec::new(),
            skipping: false,
            dropped: 0,
            read: 0,
            since: Instant::now(),
            registered: false,
        }
    }

    /// What of a full pipe is read in one turn, and what that costs.
    fn read_of(text: &str) -> (usize, usize) {
        let (ours, theirs) = nix::unistd::pipe().unwrap();
        let mut theirs = std::fs::File::from(theirs);
        theirs.write_all(text.repeat(60_000 / text.len()).as_bytes()).unwrap();
        let mut state = state_of(ours);
        let mut scratch = vec![0; PER_TURN];
        assert!(matches!(read_some(&mut state, &mut scratch), PipeFlow::More));
        let left = fd::read_now(&state.pipe, &mut vec![0; 64 * 1024]).unwrap();
        (60_000 / text.len() * text.len() - left, state.read)
    }

    #[test]
    fn a_turn_takes_a_bounded_amount_and_short_lines_cost_more_than_their_bytes() {
        let (bytes, cost) =
            read_of("a line of sixty bytes, as programs have them, is a usual one\n");
        assert!(bytes == PER_TURN && cost < 3 * bytes, "{bytes} {cost}");
        let (bytes, cost) = read_of("x\n");
        assert!(bytes == PER_TURN && cost == bytes + bytes / 2 * LINE, "{bytes} {cost}");
    }

    #[test]
    fn a_turn_does_not_read_byte_by_byte_for_long() {
        let (ours, theirs) = nix::unistd::pipe2(OFlag::O_DIRECT).unwrap();
        nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
        let mut theirs = std::fs::File::from(theirs);
        // Each takes a page of the pipe, which has no more.
        let packets = PER_TURN / READ;
        (0..packets).for_each(|_| theirs.write_all(b"x").unwrap());
        let mut state = state_of(ours);
        assert!(matches!(read_some(&mut state, &mut vec![0; PER_TURN]), PipeFlow::More));
        assert_eq!((state.partial.len(), state.read), (packets, PER_TURN));
    }

    #[test]
    fn who_leaves_most_behind_loses_the_oldest() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..6).map(|_| slab.insert(())).collect();
        let (quiet, loud) = (keys[0], keys[1]);
        let pipes = [(keys[2], quiet), (keys[3], loud), (keys[4], loud), (keys[5], quiet)];
        assert_eq!(surplus(pipes[..3].iter().copied()), Some(keys[3]));
        assert_eq!(surplus(pipes[..1].iter().copied()), Some(keys[2]));
        assert_eq!(surplus([].into_iter()), None);
    }
}
