//! Where the log goes, as the command line names it.

use std::path::PathBuf;
use std::str::FromStr;

/// Where syslog(3) sends its messages.
pub(crate) const SOCKET: &str = "/dev/log";

/// The facility of daemons.
pub(crate) const DAEMON: u8 = 3;
/// Facilities of syslog(3) by name, and their numbers (RFC 5424 section 6.2.1).
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", DAEMON),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// The system's log.
    Syslog {
        /// The number of the facility, 0 to 23.
        facility: u8,
        /// The socket of the daemon. Another than /dev/log is one that a syslog daemon
        /// has in a jail or in a container; a name after a comma, because the facility
        /// may be left out and a path may have any other character.
        socket: PathBuf,
    },
    /// A regular file.
    File(PathBuf),
}

impl LogTarget {
    /// The system's log under the facility of daemons.
    pub fn syslog() -> Self {
        Self::Syslog { facility: DAEMON, socket: PathBuf::from(SOCKET) }
    }
}

impl FromStr for LogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "stderr" {
            return Ok(Self::Stderr);
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = (!path.is_empty()).then(|| Self::File(PathBuf::from(path)));
            return path.ok_or_else(|| "the path is missing".to_owned());
        }
        let (name, socket) = text.split_once(',').unwrap_or((text, SOCKET));
        let facility = match name.strip_prefix("syslog") {
            Some("") => Some(DAEMON),
            Some(rest) => rest.strip_prefix(':').and_then(facility),
            None => None,
        };
        match facility {
            Some(facility) if socket.starts_with('/') => {
                Ok(Self::Syslog { facility, socket: PathBuf::from(socket) })
            }
            Some(_) => Err(format!("`{socket}` is not an absolute path of a socket")),
            None if name.starts_with("syslog:") => Err(format!(
                "there is no such facility; there are {}",
                FACILITIES.map(|(name, _)| name).join(", ")
            )),
            None => Err("a target is stderr, syslog[:FACILITY][,SOCKET] or file:PATH".to_owned()),
        }
    }
}

fn facility(name: &str) -> Option<u8> {
    FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syslog(facility: u8, socket: &str) -> Result<LogTarget, String> {
        Ok(LogTarget::Syslog { facility, socket: PathBuf::from(socket) })
    }

    #[test]
    fn every_target_is_read() {
        let file = |path: &str| Ok(LogTarget::File(PathBuf::from(path)));
        for (text, wanted) in [
            ("stderr", Ok(LogTarget::Stderr)),
            ("syslog", syslog(3, "/dev/log")),
            ("syslog:local7", syslog(23, "/dev/log")),
            ("syslog,/jail/dev/log", syslog(3, "/jail/dev/log")),
            ("syslog:authpriv,/a,b", syslog(10, "/a,b")),
            ("file:/var/log/x", file("/var/log/x")),
            ("file:x,y:z", file("x,y:z")),
        ] {
            assert_eq!(text.parse(), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_an_error_that_says_what_is() {
        for (text, says) in [
            ("", "stderr, syslog"),
            ("syslogd", "stderr, syslog"),
            ("syslog:", "local7"),
            ("syslog:local8", "local7"),
            ("syslog:daemon,dev/log", "absolute"),
            ("syslog,", "absolute"),
            ("file:", "missing"),
            ("file", "stderr, syslog"),
        ] {
            let error = text.parse::<LogTarget>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
