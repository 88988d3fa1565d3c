//! Terminals: what a client types and what a program shows, as they are or in telnet.

use std::time::Duration;

use super::front::{Front, Output, ServiceFront};
use crate::front::telnet::Telnet;
use crate::net::fronted::Fact;

/// A service whose programs have terminals.
pub(super) struct TerminalService {
    /// Its clients speak telnet.
    pub(super) telnet: bool,
}

impl ServiceFront for TerminalService {
    fn front(&self) -> Result<Box<dyn Front>, String> {
        Ok(if self.telnet { Box::new(Negotiated::default()) } else { Box::new(RawTerminal) })
    }

    /// The server looks at that, and ends the program.
    fn idle(&self) -> Option<Duration> {
        None
    }
}

/// Bytes as they are.
struct RawTerminal;

impl Front for RawTerminal {
    fn begin(&mut self, out: &mut Output) {
        out.facts = Some(Vec::new());
    }

    fn client_said(&mut self, bytes: &mut [u8], out: &mut Output) -> Result<usize, String> {
        out.to_program.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn program_said(
        &mut self,
        _kept: &mut [u8],
        bytes: &[u8],
        out: &mut Output,
    ) -> Result<(), String> {
        out.to_client.extend_from_slice(bytes);
        Ok(())
    }

    fn program_ended(&mut self, _kept: &mut [u8], _out: &mut Output) {}
}

/// Bytes in telnet.
#[derive(Default)]
struct Negotiated {
    telnet: Telnet,
    /// The client has its program, or is about to.
    is_told: bool,
}

impl Negotiated {
    /// What is to be told and sent besides what is typed and shown.
    fn settle(&mut self, is_time: bool, out: &mut Output) {
        out.to_client.append(&mut self.telnet.take_answers());
        if let Some(synch) = self.telnet.take_synch() {
            out.to_client.extend_from_slice(&synch);
            out.is_urgent = true;
        }
        if let Some(size) = self.telnet.take_size() {
            out.size = Some((size.columns, size.rows));
        }
        if !self.is_told && (is_time || self.telnet.is_settled()) {
            self.is_told = true;
            let name = self.telnet.term().map(|name| (Fact::Terminal, name.to_owned()));
            out.facts = Some(name.into_iter().collect());
        }
    }
}

impl Front for Negotiated {
    fn begin(&mut self, out: &mut Output) {
        self.settle(false, out);
    }

    fn may_be_silent(&self) -> bool {
        true
    }

    fn was_silent(&mut self, _kept: &mut [u8], out: &mut Output) {
        self.settle(true, out);
    }

    fn stands_before_urgent(&mut self, stands: bool) -> bool {
        self.telnet.discard(stands);
        stands
    }

    fn client_said(&mut self, bytes: &mut [u8], out: &mut Output) -> Result<usize, String> {
        self.telnet.receive(bytes, &mut out.to_program);
        self.settle(false, out);
        Ok(bytes.len())
    }

    fn program_said(
        &mut self,
        _kept: &mut [u8],
        bytes: &[u8],
        out: &mut Output,
    ) -> Result<(), String> {
        self.telnet.send(bytes, &mut out.to_client);
        Ok(())
    }

    fn program_ended(&mut self, _kept: &mut [u8], _out: &mut Output) {}
}
