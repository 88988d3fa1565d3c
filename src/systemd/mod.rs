//! The service manager that has started us, if one has: systemd, or whatever else
//! speaks its protocols. It is told how we are (sd_notify(3)) and may have given us
//! sockets (sd_listen_fds(3)).
//!
//! All of it comes as variables of the environment, which are read once at start and
//! which no program of ours gets to see. Without them nothing here does anything.

mod inherited;
mod notify;
mod store;

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

pub(crate) use notify::{Notifier, NotifyStatus};
pub(crate) use store::{About, Claim, Store, needs_own_sockets};

use crate::log::events;
use inherited::Passed;

/// What speaks to us and to nobody that we start.
const OURS: [&str; 3] = ["NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_"];

/// The shortest time between two signs of life, whatever is asked for.
const SHORTEST: Duration = Duration::from_millis(1);

/// What the service manager has given us and wants of us.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    /// Where it is told how we are.
    pub notifier: Notifier,
    /// How often it wants a sign of life: half of the time after which it gives us up.
    pub watchdog: Option<Duration>,
    /// The sockets that it holds for us.
    pub sockets: Store,
    /// For the log, which comes later.
    troubles: Vec<Trouble>,
}

/// Something that is not as it should be.
#[derive(Debug)]
enum Trouble {
    /// The address of the manager.
    Address(io::Error),
    /// A descriptor.
    Descriptor(Passed, io::Error),
}

impl ServiceManager {
    /// Reads the environment and takes over the sockets, under new numbers. To be
    /// called before anything else is opened and before going to the background,
    /// where our process id is no longer the one that the manager knows.
    pub(crate) fn from_environment() -> Self {
        Self::new(&|name| std::env::var_os(name), std::process::id())
    }

    fn new(variable: &dyn Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let mut manager = Self { watchdog: watchdog(variable, pid), ..Self::default() };
        match variable("NOTIFY_SOCKET").map(|address| Notifier::new(&address)) {
            None => {}
            Some(Ok(notifier)) => manager.notifier = notifier,
            Some(Err(error)) => manager.troubles.push(Trouble::Address(error)),
        }
        for passed in inherited::passed(variable, pid) {
            match inherited::take(&passed) {
                Ok(socket) => manager.sockets.add(socket),
                Err(error) => {
                    // If one is not open, the number of them is wrong: the rest is not either.
                    let last = error.kind() == ErrorKind::NotFound;
                    manager.troubles.push(Trouble::Descriptor(passed, error));
                    if last {
                        break;
                    }
                }
            }
        }
        manager
    }

    /// Says what of all that cannot be used, now that there is a log.
    pub(crate) fn say_troubles(&mut self) {
        for trouble in self.troubles.drain(..) {
            match trouble {
                Trouble::Address(error) => {
                    events::trouble("service manager", "NOTIFY_SOCKET", &error);
                }
                Trouble::Descriptor(passed, error) => {
                    events::not_adopted(passed.number, &passed.name, &error);
                }
            }
        }
    }
}

/// Half of `WATCHDOG_USEC`, if that is for us (sd_watchdog_enabled(3)).
fn watchdog(variable: &dyn Fn(&str) -> Option<OsString>, pid: u32) -> Option<Duration> {
    let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
    if variable("WATCHDOG_PID").is_some() && number("WATCHDOG_PID") != Some(u64::from(pid)) {
        return None;
    }
    let limit = number("WATCHDOG_USEC").filter(|limit| *limit > 0)?;
    Some((Duration::from_micros(limit) / 2).max(SHORTEST))
}

/// Whether a variable is between the service manager and us.
pub(crate) fn is_for_us(name: &OsStr) -> bool {
    OURS.iter().any(|ours| name.as_bytes().starts_with(ours.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        let pairs: Vec<(String, OsString)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        move |name| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn signs_of_life_come_twice_as_often_as_asked_for() {
        let every = |pairs: &[(&str, &str)]| watchdog(&variables(pairs), 7);
        let second = Some(Duration::from_secs(1));
        assert_eq!(every(&[("WATCHDOG_USEC", "2000000")]), second);
        assert_eq!(every(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "7")]), second);
        assert_eq!(every(&[("WATCHDOG_USEC", "1")]), Some(SHORTEST));
        let none: [&[(&str, &str)]; 6] = [
            &[],
            &[("WATCHDOG_PID", "7")],
            &[("WATCHDOG_USEC", "0")],
            &[("WATCHDOG_USEC", "soon")],
            &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "8")],
            &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "me")],
        ];
        assert!(none.iter().all(|pairs| every(pairs).is_none()));
    }

    #[test]
    fn what_is_for_us_is_for_nobody_else() {
        for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC"] {
            assert!(is_for_us(OsStr::new(name)), "{name}");
        }
        for name in ["LISTEN", "PATH", "NOTIFY", "MY_LISTEN_FDS"] {
            assert!(!is_for_us(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn nothing_in_the_environment_is_nothing_to_do() {
        let manager = ServiceManager::new(&variables(&[]), 7);
        assert!(!manager.notifier.has_address() && manager.watchdog.is_none());
    }
}
