//! This program once more, as a process that does one thing for the server: made ready down the
//! one path of every program of a service.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use crate::config::model::{Account, Action, Attributes, Program, Service, StderrTo};
use crate::server::Server;
use crate::spawn::{Confinement, Prepared};

impl Server {
    /// To be started as this user, under the word that says what it is for. What `confine` does
    /// not change is as for any program; nobody reads its standard error.
    ///
    /// # Errors
    /// Why it cannot be made ready.
    pub(super) fn prepare_own_program(
        &self,
        (label, argument): (&str, &str),
        account: &Rc<Account>,
        confine: impl FnOnce(&mut Attributes),
    ) -> io::Result<Rc<Prepared>> {
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
        let prepared = Prepared::new(&service, &program, &self.facts.server, confinement);
        prepared.map(Rc::new).map_err(io::Error::other)
    }
}
