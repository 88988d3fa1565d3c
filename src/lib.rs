//! oxinetd, a superserver: for each connection to a port, a program.
//!
//! # One connection
//! The bytes of a file become entries whose words know their places (`config::syntax`), those
//! a validated model (`config::resolve`, [`config::model`]; what it asks of the machine,
//! `config::lookup` answers), and each service's program a `spawn::Prepared` with every
//! allocation made. `server::services::installing` has `net::listener` open the sockets,
//! which `server::turning` polls. In a turn: signals (`sys::signals`), programs that have
//! ended, timers, then the ready listeners, a bounded number of connections each
//! (`server::services::accepting`). `admission` refuses, pauses, or gives a permit; `spawn`
//! makes the child, which nobody waits for. Whoever is served has one entry in one table
//! (`server::sessions::session`), also where no program is needed (`builtin`, the relay among
//! them). When a child has ended, which its pidfd announces (`server::programs::ending`), the
//! permit goes back, paused listeners resume, and the log says how it ended. Whoever started
//! the server may hold its sockets and hears how it is (`systemd`).
//!
//! # One reload
//! SIGHUP: a copy of the server (`reload::worker`) reads the whole file into a new model,
//! compares it with its own (`reload::plan`) and sends back what there is to say and to do
//! (`reload::wire`, `reload::steps`); meanwhile clients are served, whatever it waits for. One
//! error leaves everything as it was. Else the loop takes some services over each turn
//! (`server::services::applying`), each of them whole: new sockets are opened, kept ones keep
//! their descriptor and backlog under the new service, the rest is closed. Running programs
//! keep the service they were started with.
//!
//! # One upgrade
//! `oxinetd upgrade` asks over the socket of `control`, as all commands that speak to a running
//! server do. The program on disk is tried out as a child (`server::upgrade::preflight`): can
//! it read the configuration and what it would be handed? Then everything that is alive is
//! written down (`server::upgrade::save`, in the words of `upgrade::state`; whoever is served,
//! as he is: `server::sessions` derives that), the descriptors lose close-on-exec, and the new
//! program is executed in the place of the old one (`upgrade::executable`). It serves what it
//! finds (`server::upgrade::restore`) as after a reload; if it cannot, it executes the old one
//! again.
//!
//! # To add something
//! *An attribute*: its field and default in the group of `config::model::attributes` that it
//! belongs to, and its row in `config::attribute::table` (scope, help, and the form in which a
//! value is written: `config::attribute::form` has those of numbers, times, paths and the like);
//! then its lines in `etc/man`, which tests hold against the table. It is read, printed, sent to
//! the server at a reload and compared there by that alone. What is in the group `socket` is set
//! again on sockets that stay open. What it does is elsewhere: these two files only say it.
//! *A built-in service*: its name in `config::model::Builtin`, a state machine like
//! `builtin::echo`, and what begins it (`builtin::session`) and answers datagrams
//! (`builtin::datagram`), which the compiler asks for. *Another kind of client*: as
//! `server::sessions` says. *Something in front of a service*: as `server::sessions::newcomers`
//! says; nobody but that file and `upgrade::restore_served` knows what a newcomer waits for.
//! *A log line*: a function of `log::events`, its words in `etc/man`.
//!
//! # Rules
//! Nothing in the loop blocks. `unsafe` is in `spawn::child` and in files of `sys`, which say
//! so. Dependencies point one way:
//! `command` → `server` → everything below it → [`config::model`]; a test holds them to it.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("oxinetd is for 64-bit Linux: counters, times and inode numbers are 64 bits wide");

// The machine of the tests, which those from outside have, too, names the program as they do.
#[cfg(test)]
extern crate self as oxinetd;

#[forbid(unsafe_code)]
pub mod command;
#[forbid(unsafe_code)]
pub mod config;

#[forbid(unsafe_code)]
pub(crate) mod admission;
#[forbid(unsafe_code)]
pub(crate) mod builtin;
#[forbid(unsafe_code)]
pub(crate) mod cli;
#[forbid(unsafe_code)]
pub(crate) mod control;
#[forbid(unsafe_code)]
pub(crate) mod front;
#[forbid(unsafe_code)]
pub(crate) mod log;
#[forbid(unsafe_code)]
pub(crate) mod net;
#[forbid(unsafe_code)]
pub(crate) mod reload;
#[forbid(unsafe_code)]
pub(crate) mod server;
pub(crate) mod spawn;
pub(crate) mod sys;
#[forbid(unsafe_code)]
pub(crate) mod systemd;
#[forbid(unsafe_code)]
pub(crate) mod upgrade;

/// What reads bytes of strangers, and what is timed alone: for the properties, the fuzz targets
/// and the benchmark below `tests`. No interface.
#[doc(hidden)]
pub mod under_test {
    pub mod admission {
        pub use crate::admission::access::{AccessList, Prefix, parse_item};
    }
    pub mod builtin {
        pub use crate::builtin::relay::Relay;
        pub use crate::builtin::session::{Conversation, Progress};
        pub use crate::builtin::{TcpmuxRequest, WallClock, answer, tcpmux};
    }
    pub mod cli {
        pub use crate::cli::compat::{CompatName, CompatRequest, read};
        pub use crate::cli::{Cli, Command};
        pub use crate::log::target::LogTarget;
    }
    pub mod control {
        pub use crate::control::request::Request;
        pub use crate::control::{answer, http, table};
    }
    pub mod front {
        pub use crate::front::certificate::{distinguished_name, not_after};
        pub use crate::front::proxy::{Header, HeaderRead, LONGEST, NamedClient, read};
        pub use crate::front::telnet::Telnet;
        pub use crate::front::wire::{
            Ended, Give, ToServer, ToWorker, from_server, from_worker, to_server, to_worker,
        };
        pub use crate::net::fronted::{Fact, Fronted};
    }
    pub mod log {
        pub use crate::log::events::{self, Label, Message, Plain};
        pub use crate::net::address::Address;
    }
    pub mod reload {
        pub use crate::reload::plan::{Fate, Plan, SocketRef, plan};
        pub use crate::reload::steps::{Loading, Serve, ServiceChange, Step};
        pub use crate::reload::wire::{Receiver, Sender};
    }
    pub mod sys {
        pub use crate::sys::calendar::{Civil, DAY};
        pub use crate::sys::trusted_path::open_to_read;
        pub use crate::sys::zone::Zone;
    }
    pub mod upgrade {
        pub use crate::upgrade::moment::Clock;
        pub use crate::upgrade::snapshot::{pack, unpack};
    }
}
