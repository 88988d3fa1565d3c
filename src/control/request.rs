//! What the server can be asked over its control socket.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes of a request, its end included; a longer one is none.
pub(crate) const LONGEST: usize = 4096;

/// How long `stop --drain` waits when it is not told.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// What the server serves and has done; of one service with its peers.
    Status {
        /// Its label, or the part of that before `/`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// Everybody who is here, and the last who were.
    Peers {},
    /// Read the configuration again.
    Reload {},
    /// Stop serving: one service, or all and the server itself.
    Stop {
        /// Which; all without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// Seconds that programs are given to end by themselves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drain: Option<u64>,
        /// Milliseconds for which clients are let in before that, while those who ask whether
        /// the server is ready are told that it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay: Option<u64>,
    },
    /// Serve a stopped service again.
    Start {
        /// Which.
        service: String,
    },
    /// Have the program on disk go on in its place.
    Upgrade {},
    /// End a program, whatever serves a peer, or all that a service serves.
    Kill {
        /// The pid of a program, a peer's address, or the name of a service.
        who: String,
    },
}

impl Request {
    /// Whether nothing has to come about before it is answered.
    #[must_use]
    pub fn is_answered_at_once(&self) -> bool {
        match self {
            Self::Status { .. } | Self::Peers {} | Self::Start { .. } | Self::Kill { .. } => true,
            Self::Stop { service, .. } => service.is_some(),
            Self::Reload {} | Self::Upgrade {} => false,
        }
    }

    /// Reads a line: JSON, or words.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        if line.starts_with('{') {
            return serde_json::from_slice(line.as_bytes())
                .map_err(|error| format!("the request: {error}"));
        }
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let named = (!rest.is_empty()).then(|| rest.to_owned());
        match (command, named) {
            ("status", service) => Ok(Self::Status { service }),
            ("peers", None) => Ok(Self::Peers {}),
            ("reload", None) => Ok(Self::Reload {}),
            ("upgrade", None) => Ok(Self::Upgrade {}),
            ("stop", named) => Self::stop(named),
            ("start", Some(service)) => Ok(Self::Start { service }),
            ("kill", Some(who)) => Ok(Self::Kill { who }),
            ("start" | "kill", None) => Err(format!("{command}: of what?")),
            ("peers" | "reload" | "upgrade", Some(rest)) => {
                Err(format!("{command}: what is {rest:?}?"))
            }
            _ => Err(format!("there is no command {command:?}: {COMMANDS}")),
        }
    }

    fn stop(named: Option<String>) -> Result<Self, String> {
        let Some(rest) = named.as_deref().and_then(|rest| rest.strip_prefix("--drain")) else {
            return Ok(Self::Stop { service: named, drain: None, delay: None });
        };
        let (drain, delay) = match rest.split_once("--drain-delay") {
            Some((drain, delay)) => (drain, Some(delay)),
            None => (rest, None),
        };
        let number = |text: &str, of: &str| {
            let text = text.trim_matches(['=', ' ']);
            text.parse::<u64>().map_err(|error| format!("{of} {text:?}: {error}"))
        };
        let drain = match drain.trim_matches(['=', ' ']) {
            "" => DRAIN.as_secs(),
            text => number(text, "--drain")?,
        };
        // Seconds too, as they are said here.
        let delay = delay.map(|text| number(text, "--drain-delay")).transpose()?;
        let delay = delay.map(|seconds| seconds.saturating_mul(1000));
        Ok(Self::Stop { service: None, drain: Some(drain), delay })
    }

    /// Whether it changes something, and is logged.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Status { .. } | Self::Peers {})
    }

    /// Its words, for the log.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Status { service: None } => "status".to_owned(),
            Self::Status { service: Some(service) } => format!("status {service}"),
            Self::Peers {} => "peers".to_owned(),
            Self::Reload {} => "reload".to_owned(),
            Self::Upgrade {} => "upgrade".to_owned(),
            Self::Stop { service: Some(service), .. } => format!("stop {service}"),
            Self::Stop { service: None, drain: None, .. } => "stop".to_owned(),
            Self::Stop { service: None, drain: Some(seconds), delay: None } => {
                format!("stop --drain {seconds}")
            }
            Self::Stop { service: None, drain: Some(seconds), delay: Some(delay) } => {
                format!("stop --drain {seconds} --drain-delay {delay}ms")
            }
            Self::Start { service } => format!("start {service}"),
            Self::Kill { who } => format!("kill {who}"),
        }
    }
}

const COMMANDS: &str = "status, peers, reload, stop, start, upgrade and kill are";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    fn of(service: &str) -> Option<String> {
        Some(service.to_owned())
    }

    #[test]
    fn reads_words() {
        for (line, wanted) in [
            ("status", Request::Status { service: None }),
            (" status  /tmp/a b \r\n", Request::Status { service: of("/tmp/a b") }),
            ("peers\n", Request::Peers {}),
            ("reload", Request::Reload {}),
            ("upgrade", Request::Upgrade {}),
            ("stop", Request::Stop { service: None, drain: None, delay: None }),
            ("stop echo/tcp", Request::Stop { service: of("echo/tcp"), drain: None, delay: None }),
            ("stop --drain", Request::Stop { service: None, drain: Some(30), delay: None }),
            ("stop --drain=5", Request::Stop { service: None, drain: Some(5), delay: None }),
            ("stop --drain 5", Request::Stop { service: None, drain: Some(5), delay: None }),
            (
                "stop --drain --drain-delay 3",
                Request::Stop { service: None, drain: Some(30), delay: Some(3000) },
            ),
            (
                "stop --drain=5 --drain-delay=0",
                Request::Stop { service: None, drain: Some(5), delay: Some(0) },
            ),
            ("start echo", Request::Start { service: "echo".to_owned() }),
            ("kill 12", Request::Kill { who: "12".to_owned() }),
        ] {
            assert_eq!(Request::parse(line), Ok(wanted), "{line}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for line in [
            "",
            "hello",
            "start",
            "kill",
            "peers x",
            "stop --drain x",
            "stop --drain --drain-delay x",
            "{",
            "{\"a\":1}",
        ] {
            let error = Request::parse(line).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{line}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn json_is_read_as_it_was_written(service: Option<String>, drain: Option<u64>, delay: Option<u64>) {
            let request = Request::Stop { service, drain, delay };
            let line = serde_json::to_string(&request).unwrap();
            prop_assert_eq!(Request::parse(&line), Ok(request));
        }

        #[test]
        fn no_line_is_too_strange(line: String) {
            let _ = Request::parse(&line);
        }
    }
}
