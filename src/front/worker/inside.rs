//! A front inside of another one: a terminal behind TLS.

use std::time::Duration;

use super::front::{Facts, Front, Output, ServiceFront};

/// A service with both.
pub(super) struct ServiceInside {
    pub(super) outer: Box<dyn ServiceFront>,
    pub(super) inner: Box<dyn ServiceFront>,
}

impl ServiceFront for ServiceInside {
    fn front(&self) -> Result<Box<dyn Front>, String> {
        let (outer, inner) = (self.outer.front()?, self.inner.front()?);
        Ok(Box::new(Inside {
            outer,
            inner,
            facts: None,
            was_silent: false,
            between: Output::default(),
            inside: Output::default(),
        }))
    }

    fn idle(&self) -> Option<Duration> {
        self.outer.idle()
    }
}

/// What the client says goes through the outer one and then through the inner one, what the
/// program says the other way.
struct Inside {
    outer: Box<dyn Front>,
    inner: Box<dyn Front>,
    /// What the outer one has told: the inner one has begun.
    facts: Option<Facts>,
    was_silent: bool,
    between: Output,
    inside: Output,
}

impl Inside {
    /// Passes on what the inner one has put out.
    fn pass_on(&mut self, kept: &mut [u8], out: &mut Output) -> Result<(), String> {
        out.to_program.append(&mut self.inside.to_program);
        out.size = self.inside.size.take().or(out.size);
        if let Some(inner) = self.inside.facts.take() {
            let outer = self.facts.iter().flatten().cloned();
            out.facts = Some(outer.chain(inner).collect());
        }
        let shown = std::mem::take(&mut self.inside.to_client);
        if shown.is_empty() { Ok(()) } else { self.outer.program_said(kept, &shown, out) }
    }
}

impl Front for Inside {
    fn may_be_silent(&self) -> bool {
        self.inner.may_be_silent()
    }

    fn was_silent(&mut self, kept: &mut [u8], out: &mut Output) {
        self.was_silent = true;
        if self.facts.is_some() {
            self.inner.was_silent(&mut [], &mut self.inside);
            // What cannot be said any more is told of at the next byte.
            let _ = self.pass_on(kept, out);
        }
    }

    fn client_said(&mut self, bytes: &mut [u8], out: &mut Output) -> Result<usize, String> {
        let used = self.outer.client_said(bytes, &mut self.between);
        out.to_client.append(&mut self.between.to_client);
        out.client_ended |= std::mem::take(&mut self.between.client_ended);
        let used = used?;
        let kept = bytes.get_mut(used..).unwrap_or_default();
        if let Some(facts) = self.between.facts.take() {
            self.facts = Some(facts);
            self.inner.begin(&mut self.inside);
            if self.was_silent {
                self.inner.was_silent(&mut [], &mut self.inside);
            }
            self.pass_on(kept, out)?;
        }
        let mut typed = std::mem::take(&mut self.between.to_program);
        if !typed.is_empty() {
            // It keeps what is not whole yet itself.
            self.inner.client_said(&mut typed, &mut self.inside)?;
            self.pass_on(kept, out)?;
        }
        Ok(used)
    }

    fn says_its_end(&self) -> bool {
        self.outer.says_its_end()
    }

    fn too_long(&mut self, out: &mut Output) -> String {
        self.outer.too_long(out)
    }

    fn program_said(
        &mut self,
        kept: &mut [u8],
        bytes: &[u8],
        out: &mut Output,
    ) -> Result<(), String> {
        self.inner.program_said(&mut [], bytes, &mut self.inside)?;
        self.pass_on(kept, out)
    }

    fn program_ended(&mut self, kept: &mut [u8], out: &mut Output) {
        self.inner.program_ended(&mut [], &mut self.inside);
        let _ = self.pass_on(kept, out);
        self.outer.program_ended(kept, out);
    }
}
