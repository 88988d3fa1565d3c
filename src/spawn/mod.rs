//! Starting programs: one path for every way a service can start one.
//!
//! [`Prepared`] is made at load; [`Spawner::spawn`] turns it and a socket into a
//! running child without waiting for it. [`child`] holds the child's own code.

#[forbid(unsafe_code)]
mod channel;
pub(crate) mod child;
#[forbid(unsafe_code)]
mod dumpable;
#[forbid(unsafe_code)]
pub(crate) mod environment;
#[forbid(unsafe_code)]
mod error;
#[forbid(unsafe_code)]
mod numbers;
#[forbid(unsafe_code)]
mod pipe;
#[forbid(unsafe_code)]
mod pool;
#[forbid(unsafe_code)]
mod preforked;
#[forbid(unsafe_code)]
mod prepared;
#[forbid(unsafe_code)]
pub(crate) mod sandbox;
#[forbid(unsafe_code)]
mod spawner;
#[forbid(unsafe_code)]
mod stage;
#[forbid(unsafe_code)]
mod steps;
#[forbid(unsafe_code)]
pub(crate) mod stub;

pub(crate) use error::{NotStarted, SpawnError};
pub(crate) use prepared::{Prepared, ServerFacts};
pub(crate) use sandbox::{Confinement, SandboxRefusal};
pub(crate) use spawner::{DescriptorTable, Spawner, Started, Way};
pub(crate) use stage::{Failure, Stage};
