//! This program once more, as a process that does one thing for the server and says over a wire
//! what it has done: made ready and started down the one path of every program of a service,
//! ended and reaped as the child that it is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config::model::{Account, Action, Attributes, Program, Service, StderrTo};
use crate::server::Server;
use crate::server::programs::Programs;
use crate::server::reactor::Reactor;
use crate::spawn::environment::{ConnectionEnvironment, Proto};
use crate::spawn::{Confinement, Failure, Prepared, ServerFacts, child};
use crate::sys::process::{self, ChildExit};

impl Server {
    /// Starts it as this user, under the word that says what it is for, with this end of a pair
    /// on its standard input and output; the number of its process. What `confine` does not
    /// change is as for any program; nobody reads its standard error.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) fn start_own_program(
        &mut self,
        named: (&str, &str),
        account: &Rc<Account>,
        confine: impl FnOnce(&mut Attributes),
        theirs: OwnedFd,
    ) -> io::Result<i32> {
        let prepared = Rc::new(prepared(named, account, confine, &self.facts.server)?);
        let facts =
            ConnectionEnvironment { protocol: Proto::Unix, ..ConnectionEnvironment::default() };
        let table = self.table();
        let started = self.programs.spawner.spawn(&prepared, theirs, &facts, table);
        started.map(|it| it.pid).map_err(|failed| failed.error.into())
    }
}

fn prepared(
    (label, argument): (&str, &str),
    account: &Rc<Account>,
    confine: impl FnOnce(&mut Attributes),
    facts: &ServerFacts,
) -> io::Result<Prepared> {
    let program = Program {
        path: PathBuf::from("/proc/self/exe"),
        argv: vec!["oxinetd".into(), argument.into()],
    };
    let mut attributes = Attributes::default();
    attributes.process.stderr = StderrTo::Null;
    confine(&mut attributes);
    let service = Service {
        account: Rc::clone(account),
        attributes: Rc::new(attributes),
        ..Service::unwritten(label, Action::Program(program.clone()))
    };
    let confinement = Confinement::default();
    Prepared::new(&service, &program, facts, confinement).map_err(io::Error::other)
}

/// Ends one that is not reaped, so that its number is its own: nothing it says is heard any more.
pub(super) fn end_own_program(pid: i32, wire: Option<impl AsRawFd>, reactor: &Reactor) {
    if let Some(wire) = wire {
        reactor.unwatch(&wire);
    }
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

impl Programs {
    /// Reaps one that is ended: how, as far as the system says, and why it did not even become
    /// this program. None while it is still there.
    pub(super) fn reap_own_program(
        &mut self,
        pid: i32,
    ) -> Option<(Option<ChildExit>, Option<Failure>)> {
        let ending = match process::ended(Some(pid), true) {
            Ok(None) => return None,
            Ok(Some((_, ending))) => Some(ending),
            Err(_) => None,
        };
        self.spawner.reaped(pid);
        if matches!(ending, Some(ChildExit::Status(child::FAILED))) {
            return Some((ending, self.spawner.failure_of(pid)));
        }
        self.spawner.forget_failure(pid);
        Some((ending, None))
    }
}
