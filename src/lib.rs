//! oxinetd, a superserver: for each connection to a port, a program.
//!
//! # One connection
//! The text of a file becomes entries with their places in it, those a validated
//! model ([`config`], which asks the machine through [`lookup`]), and each service's
//! program a [`spawn::Prepared`] with every allocation made. [`listener`] opens the
//! sockets, [`server`] polls them. In a turn of its loop: [`signals`], children that
//! have ended, then the ready listeners, a bounded number of connections each.
//! [`admission`] says admit, refuse or rest; [`spawn`] makes the child, which nobody
//! waits for; [`peers`] and [`journal`] note it. When it has ended, which its pidfd
//! announces if it is not noticed before, the slot is released, whoever rested for it
//! resumes, and the journal says how it ended.
//! What needs no program ([`builtin`], [`relay`]) is served inside the loop. Whoever
//! started the server may hold its sockets and hears how it is ([`service_manager`]).
//!
//! # One reload
//! SIGHUP: a copy of the server ([`loading`]) reads the whole file into a new model,
//! compares it with its own ([`reload::plan`]) and sends back what there is to say and to
//! do; meanwhile clients are served, whatever it waits for. One error leaves everything
//! as it was. Else the loop takes some services over each turn, each of them whole: new
//! sockets are opened, kept ones keep their descriptor and backlog under the new service,
//! the rest is closed. Running programs keep the service they were started with.
//!
//! # One upgrade
//! `oxinetd upgrade` asks over the socket of [`control`], as all commands that speak to a
//! running server do. The program on disk is tried out as a child: can it read the
//! configuration and what it would be handed? Then everything that is alive is written
//! down ([`handover`]), the descriptors lose close-on-exec, and the new program is
//! executed in the place of the old one. It serves what it finds as after a reload; if
//! it cannot, it executes the old one again.
//!
//! # Rules
//! Nothing in the loop blocks. `unsafe` is in [`spawn::kernel`] only. Dependencies
//! point one way: `main` → `server` → everything below it → `config::model`.

pub mod admission;
pub mod builtin;
pub mod cli;
pub mod command;
pub mod config;
pub mod control;
pub mod log;
pub mod net;
pub mod reload;
pub mod server;
pub mod spawn;
pub mod sys;
pub mod systemd;
pub mod upgrade;
