//! The command line, as types.
//!
//! | file | what it does |
//! |---|---|
//! | `arguments` | the command line, and what serves |
//! | `asking` | what asks a running server |
//! | `printed` | what prints things that the program has with it |
//! | `shipped` | those things |
//! | `mistakes` | what somebody meant whose command line is not understood |
//! | `misplaced` | the same of options, which are somewhere else |
//! | `compat` | the command lines of inetd and xinetd |

mod arguments;
mod asking;
pub(crate) mod compat;
mod misplaced;
mod mistakes;
mod printed;
mod shipped;

pub(crate) use arguments::{
    Check, Common, Import, LogFormat, Run, RunTls, ServeArguments, SpawnWay, TryUpgrade,
};
pub use arguments::{Cli, Command};
pub(crate) use asking::{Control, Kill, PeersOf, StartArguments, StatusOf, StopArguments};
pub(crate) use mistakes::{explain, nearly_a_command};
