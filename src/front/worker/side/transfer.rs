//! What is read from a side, and what is written to it.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use nix::unistd::{read, write};

use super::{FrontSide, KEPT, Send, Taken};
use crate::front::wire::Give;
use crate::sys::descriptor::{send_before_end, send_now, send_urgent};
use crate::sys::rights::{self, Received};

impl FrontSide {
    /// Reads what there is.
    pub(in crate::front::worker) fn take(&mut self, buffer: &mut [u8]) -> Taken {
        if self.rest == Some(0) {
            self.lose();
            return self.end();
        }
        if self.awaits {
            return self.receive(buffer);
        }
        let result = self.there().and_then(|it| match self.kind {
            Give::Socket => recv(it.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
            Give::Terminal => read(it, buffer),
        });
        let is_end = !matches!(result, Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR));
        if is_end && self.is_unannounced() {
            self.can_read = false;
            return Taken::Nothing;
        }
        match result {
            Ok(0) => self.end(),
            Ok(count) => {
                // Where there is no more, what comes is announced.
                let all = self.gives_all && !self.has_urgent && count < buffer.len();
                self.can_read = !all || self.end_announced;
                self.rest = self.rest.map(|rest| rest.saturating_sub(count));
                Taken::Bytes(count)
            }
            // Nobody who is left in the background is waited for.
            Err(Errno::EAGAIN) if self.rest.is_some() => {
                self.lose();
                self.end()
            }
            Err(Errno::EAGAIN) => {
                (self.can_read, self.has_urgent) = (false, false);
                Taken::Nothing
            }
            Err(Errno::EINTR) => Taken::Nothing,
            // A reset, or a terminal that nobody has any more.
            Err(_) => {
                self.lose();
                self.end()
            }
        }
    }

    /// What the server says to a client before he has his terminal, and that.
    fn receive(&mut self, buffer: &mut [u8]) -> Taken {
        let there = self.there().map_err(io::Error::from);
        match there.and_then(|it| rights::receive(it, buffer)) {
            Ok(Received { length: 0, .. }) => {
                self.lose();
                self.end()
            }
            Ok(Received { length, descriptors, .. }) => {
                let Some(terminal) = descriptors.into_iter().next() else {
                    return Taken::Bytes(length);
                };
                (self.descriptor, self.awaits, self.is_new) = (Some(terminal), false, true);
                (self.can_read, self.can_write, self.end_announced) = (true, true, false);
                self.hears_of_room = true;
                // The last byte has brought it.
                match length.saturating_sub(1) {
                    0 => Taken::Terminal,
                    length => Taken::Bytes(length),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.can_read = false;
                Taken::Nothing
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Taken::Nothing,
            Err(_) => {
                self.lose();
                self.end()
            }
        }
    }

    fn end(&mut self) -> Taken {
        self.at_end = true;
        Taken::End
    }

    /// Whatever waits for it is in vain.
    pub(super) fn lose(&mut self) {
        self.gone = true;
        self.forget_pending();
    }

    /// Writes bytes, or keeps what finds no room.
    pub(in crate::front::worker) fn give(&mut self, bytes: &mut Vec<u8>) {
        self.give_by(bytes, send_now);
    }

    /// The same of the last ones, after which [`shut`](Self::shut) is to come in this turn: both
    /// in one piece.
    pub(in crate::front::worker) fn give_last(&mut self, bytes: &mut Vec<u8>) {
        self.give_by(bytes, send_before_end);
    }

    fn give_by(&mut self, bytes: &mut Vec<u8>, send: Send) {
        if let Some(refused) = &mut self.refused {
            *refused = refused.saturating_add(bytes.len());
        } else if !bytes.is_empty() && !self.gone && !self.shut {
            let written = if self.has_pending() { 0 } else { self.write(bytes, send) };
            if !self.gone && self.refused.is_none() {
                self.pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
            }
        }
        bytes.clear();
        bytes.shrink_to(KEPT);
    }

    /// The same of bytes of which the last is urgent.
    pub(in crate::front::worker) fn give_urgent(&mut self, bytes: &mut Vec<u8>) {
        if !self.gone && !self.shut {
            self.pending.append(bytes);
            self.urgent = self.pending.len().checked_sub(1);
            self.flush();
        }
        bytes.clear();
    }

    /// Writes what waits; whether something was written.
    pub(in crate::front::worker) fn flush(&mut self) -> bool {
        if !self.has_pending() || !self.can_write || self.awaits {
            return false;
        }
        let pending = std::mem::take(&mut self.pending);
        let count = self.write_pending(pending.get(self.written..).unwrap_or_default());
        if !self.gone && self.refused.is_none() {
            self.written = self.written.saturating_add(count);
            // It takes no memory while there is nothing in it.
            (self.pending, self.written) = match self.written < pending.len() {
                true => (pending, self.written),
                false => (Vec::new(), 0),
            };
        }
        count > 0 || self.gone || self.refused.is_some()
    }

    /// Writes what waits, as far as there is room; how much.
    fn write_pending(&mut self, bytes: &[u8]) -> usize {
        let at = self.urgent.and_then(|at| at.checked_sub(self.written));
        let Some((before, rest)) = at.and_then(|at| bytes.split_at_checked(at)) else {
            return self.write(bytes, send_now);
        };
        let done = self.write(before, send_now);
        let (urgent, rest) = rest.split_at_checked(1).unwrap_or_default();
        if done < before.len() || self.write(urgent, send_urgent) == 0 {
            return done;
        }
        self.urgent = None;
        done.saturating_add(1).saturating_add(self.write(rest, send_now))
    }

    /// Writes as much as there is room for; how much.
    fn write(&mut self, bytes: &[u8], send: Send) -> usize {
        let mut done = 0usize;
        if self.awaits {
            return done;
        }
        while self.can_write && done < bytes.len() {
            let rest = bytes.get(done..).unwrap_or_default();
            let result = self.there().and_then(|it| match self.kind {
                Give::Socket => send(it, rest),
                Give::Terminal => write(it, rest),
            });
            match result {
                Ok(count) => {
                    done = done.saturating_add(count);
                    self.taken = self.taken.saturating_add(count as u64);
                }
                Err(Errno::EAGAIN) => self.can_write = false,
                Err(Errno::EINTR) => {}
                // Its input is shut. If that is since it is gone, that is announced.
                Err(Errno::EPIPE) if self.is_program && self.kind == Give::Socket => {
                    self.forget_pending();
                    self.refused = Some(0);
                    break;
                }
                Err(_) => {
                    self.lose();
                    break;
                }
            }
        }
        done
    }

    /// Says that nothing more will be read, once; whether that was now. A terminal cannot be
    /// told.
    pub(in crate::front::worker) fn take_no_more(&mut self) -> bool {
        if self.kind != Give::Socket || self.gone || std::mem::replace(&mut self.is_deaf, true) {
            return false;
        }
        let _ = self.there().and_then(|it| shutdown(it.as_raw_fd(), Shutdown::Read));
        true
    }

    /// Says that nothing more will come, once; whether that was now. A terminal cannot be told.
    pub(in crate::front::worker) fn shut(&mut self) -> bool {
        if std::mem::replace(&mut self.shut, true) {
            return false;
        }
        if self.kind == Give::Socket && !self.gone {
            let _ = self.there().and_then(|it| shutdown(it.as_raw_fd(), Shutdown::Write));
        }
        true
    }
}
