//! What a front is: it sees the bytes of a client and of its program, and no descriptor.

use std::time::Duration;

use crate::front::alerts;
use crate::net::fronted::Fact;

/// What is known of a client.
pub(crate) type Facts = Vec<(Fact, String)>;

/// A service.
pub(crate) trait ServiceFront {
    /// A client comes.
    ///
    /// # Errors
    /// Why it cannot be served.
    fn front(&self) -> Result<Box<dyn Front>, String>;

    /// The longest that nothing may move between a client and its program.
    fn idle(&self) -> Option<Duration>;
}

/// What becomes of the bytes of a session. It sees no descriptor.
pub(crate) trait Front {
    /// The beginning, before anything has come.
    fn begin(&mut self, _out: &mut Output) {}

    /// Whether a client who says nothing has its program after a second.
    fn may_be_silent(&self) -> bool {
        false
    }

    /// It has said too little in that second.
    fn was_silent(&mut self, _kept: &mut [u8], _out: &mut Output) {}

    /// What the client says next stands before something urgent, or does no more; whether what
    /// has been typed before that is thrown away.
    fn stands_before_urgent(&mut self, _stands: bool) -> bool {
        false
    }

    /// Bytes of the client, with what was left of those before: how many of them are done
    /// with.
    ///
    /// # Errors
    /// Why the session is over. What has been put out is still delivered.
    fn client_said(&mut self, bytes: &mut [u8], out: &mut Output) -> Result<usize, String>;

    /// Whether a client that says nothing more says that, so that its connection does not just
    /// end.
    fn says_its_end(&self) -> bool {
        false
    }

    /// What is not done with has become too long: why the session is over.
    fn too_long(&mut self, _out: &mut Output) -> String {
        alerts::TOO_LONG.to_owned()
    }

    /// Bytes of the program; `kept` is what of the client's is not done with.
    ///
    /// # Errors
    /// As above.
    fn program_said(
        &mut self,
        kept: &mut [u8],
        bytes: &[u8],
        out: &mut Output,
    ) -> Result<(), String>;

    /// Nothing more comes from the program.
    fn program_ended(&mut self, kept: &mut [u8], out: &mut Output);
}

/// What a front puts out.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// For the client.
    pub to_client: Vec<u8>,
    /// The last byte of that is urgent.
    pub is_urgent: bool,
    /// For the program.
    pub to_program: Vec<u8>,
    /// Put once: the client may have its program.
    pub facts: Option<Facts>,
    /// The client has said that nothing more will come.
    pub client_ended: bool,
    /// Columns and rows of the client's window, if they are others.
    pub size: Option<(u16, u16)>,
}
