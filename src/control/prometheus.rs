//! Counters in the text form that Prometheus reads (exposition format 0.0.4).
//!
//! A family's samples must stand together, so the families follow each other, each
//! with all services. They are written a portion at a time: see [`FAMILIES`].

use std::fmt::Write as _;
use std::time::Duration;

use super::answer::Status;
use super::statistics::{Histogram, RUN_BOUNDS, START_BOUNDS, Statistics};

/// The type that this text has in HTTP.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is counted for each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Whether it can be reached.
    Up,
    /// Programs and connections now.
    Running,
    /// Clients in backlogs from which nobody is taken.
    Waiting,
    /// Connections served.
    Accepted,
    /// Turned away, by reason.
    Refused,
    /// Admitted and not served.
    Failed,
    /// Ends of programs.
    Exits,
    /// Time for starting a program.
    StartSeconds,
    /// Time that programs and connections ran.
    RunSeconds,
    /// Bytes of standard error that are not in the log.
    StderrDropped,
    /// When its certificate ends.
    CertificateExpiry,
}

/// All families, in the order in which they are written.
pub(crate) const FAMILIES: [Family; 11] = [
    Family::Up,
    Family::Running,
    Family::Waiting,
    Family::Accepted,
    Family::Refused,
    Family::Failed,
    Family::Exits,
    Family::StartSeconds,
    Family::RunSeconds,
    Family::StderrDropped,
    Family::CertificateExpiry,
];

/// One service at this moment.
#[derive(Debug)]
pub(crate) struct Sample<'a> {
    /// How the log calls it.
    pub service: &'a str,
    /// Its first address: several services may have one name.
    pub address: &'a str,
    /// Whether it can be reached.
    pub up: bool,
    /// Programs and connections now.
    pub running: u32,
    /// Clients in backlogs from which nobody is taken now.
    pub waiting: u32,
    /// What it has counted; none before the first.
    pub statistics: Option<&'a Statistics>,
    /// When the first of its certificates ends, in seconds since 1970; none without TLS.
    pub certificate_ends: Option<i64>,
}

/// What a family is, before its samples.
pub(crate) fn heading(family: Family, out: &mut String) {
    let (name, kind, help) = describe(family);
    // Writing to a string does not fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn describe(family: Family) -> (&'static str, &'static str, &'static str) {
    match family {
        Family::Up => ("oxinetd_service_up", "gauge", "Whether the service can be reached."),
        Family::Running => (
            "oxinetd_service_running",
            "gauge",
            "Programs of the service that run, or connections to it.",
        ),
        Family::Waiting => (
            "oxinetd_service_waiting",
            "gauge",
            "Clients that wait for a place, while the service takes nobody.",
        ),
        Family::Accepted => (
            "oxinetd_service_accepted_total",
            "counter",
            "Connections served, starts of wait programs, datagrams answered.",
        ),
        Family::Refused => {
            ("oxinetd_service_refused_total", "counter", "Connections turned away, by reason.")
        }
        Family::Failed => (
            "oxinetd_service_failed_total",
            "counter",
            "Connections admitted that could not be served.",
        ),
        Family::Exits => (
            "oxinetd_service_exits_total",
            "counter",
            "Ends of programs, by exit status or signal.",
        ),
        Family::StartSeconds => (
            "oxinetd_service_start_seconds",
            "histogram",
            "Time that starting a program took the server.",
        ),
        Family::RunSeconds => {
            ("oxinetd_service_run_seconds", "histogram", "Time that programs and connections ran.")
        }
        Family::StderrDropped => (
            "oxinetd_service_stderr_dropped_bytes_total",
            "counter",
            "Bytes of standard error that are not in the log.",
        ),
        Family::CertificateExpiry => (
            "oxinetd_service_tls_certificate_expiry_seconds",
            "gauge",
            "When the first certificate of the service ends, in seconds since 1970.",
        ),
    }
}

/// The samples of one family and service.
pub(crate) fn samples(family: Family, sample: &Sample<'_>, out: &mut String) {
    let (name, ..) = describe(family);
    let labels = Labels(sample);
    let none = Statistics::default();
    let statistics = sample.statistics.unwrap_or(&none);
    let one = |out: &mut String, value: u64| {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    };
    match family {
        Family::Up => one(out, u64::from(sample.up)),
        Family::Running => one(out, u64::from(sample.running)),
        Family::Waiting => one(out, u64::from(sample.waiting)),
        Family::Accepted => one(out, statistics.accepted),
        Family::Failed => one(out, statistics.failed),
        Family::StderrDropped => one(out, statistics.stderr_dropped),
        Family::CertificateExpiry => {
            if let Some(ends) = sample.certificate_ends {
                let _ = writeln!(out, "{name}{{{labels}}} {ends}");
            }
        }
        Family::Refused => by(out, name, &labels, "reason", &statistics.refused),
        Family::Exits => by(out, name, &labels, "status", &statistics.exits),
        Family::StartSeconds => {
            histogram(out, name, &labels, &statistics.start_time, &START_BOUNDS);
        }
        Family::RunSeconds => histogram(out, name, &labels, &statistics.run_time, &RUN_BOUNDS),
    }
}

fn by<'a, K: AsRef<str> + 'a>(
    out: &mut String,
    name: &str,
    labels: &Labels<'_>,
    key: &str,
    counts: impl IntoIterator<Item = (&'a K, &'a u64)>,
) {
    for (word, count) in counts {
        let word = Escaped(word.as_ref());
        let _ = writeln!(out, "{name}{{{labels},{key}=\"{word}\"}} {count}");
    }
}

fn histogram(
    out: &mut String,
    name: &str,
    labels: &Labels<'_>,
    histogram: &Histogram,
    bounds: &'static [Duration],
) {
    let count = histogram.count();
    // Nothing is told of what has never happened: most of many services are idle.
    if count == 0 {
        return;
    }
    for (bound, count) in histogram.cumulative(bounds) {
        let bound = bound.as_secs_f64();
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
    }
    let sum = histogram.sum().as_secs_f64();
    let _ = write!(
        out,
        "{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n\
         {name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}\n"
    );
}

/// What the server's own process costs the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessCost {
    /// Bytes in memory.
    pub memory: u64,
    /// Open descriptors, where the system counts them.
    pub descriptors: Option<u64>,
    /// As many it may have.
    pub most_descriptors: u64,
    /// Time of processors, of its own and the kernel's for it.
    pub processor: Duration,
}

/// What concerns the whole server.
pub(crate) fn server(status: &Status, cost: &ProcessCost, out: &mut String) {
    let version = Escaped(&status.version);
    let mut gauge = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    gauge("oxinetd_children", "gauge", "Programs that run.", status.running.into());
    gauge(
        "oxinetd_children_max",
        "gauge",
        "Programs that may run at once.",
        status.max_children.into(),
    );
    let conversations = u64::try_from(status.conversations).unwrap_or(u64::MAX);
    let help = "Connections to built-in services and relays.";
    gauge("oxinetd_conversations", "gauge", help, conversations);
    let help = "Connections served by all services, those that are gone included.";
    gauge("oxinetd_accepted_total", "counter", help, status.accepted);
    let help = "Connections turned away by all services, those that are gone included.";
    gauge("oxinetd_refused_total", "counter", help, status.refused);
    let help = "Connections admitted and not served, of all services.";
    gauge("oxinetd_failed_total", "counter", help, status.failed);
    let help = "Lines of the log that its reader was too slow for.";
    gauge("oxinetd_log_dropped_total", "counter", help, status.log_dropped);
    let help = "Processes in front of services that have ended, which they should not.";
    gauge("oxinetd_front_worker_deaths_total", "counter", help, status.front_worker_deaths);
    let help = "Whether the last reload was taken over.";
    let holds = u64::from(status.reload_refused.is_none());
    gauge("oxinetd_config_last_reload_successful", "gauge", help, holds);
    let help = "When the configuration that holds was taken over, in seconds since 1970.";
    let when = status.configured;
    gauge("oxinetd_config_last_reload_success_timestamp_seconds", "gauge", help, when);
    let help = "When the server started, in seconds since 1970.";
    gauge("process_start_time_seconds", "gauge", help, status.started);
    gauge("process_resident_memory_bytes", "gauge", "Memory of the server.", cost.memory);
    let help = "Descriptors that the server has open.";
    if let Some(open) = cost.descriptors {
        gauge("process_open_fds", "gauge", help, open);
    }
    let help = "Descriptors that the server may have open.";
    gauge("process_max_fds", "gauge", help, cost.most_descriptors);
    let seconds = cost.processor.as_secs_f64();
    let _ = write!(
        out,
        "# HELP process_cpu_seconds_total Time of processors that the server has used.\n\
         # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {seconds}\n"
    );
    let _ = write!(
        out,
        "# HELP oxinetd_build_info The program that runs.\n# TYPE oxinetd_build_info gauge\n\
         oxinetd_build_info{{version=\"{version}\"}} 1\n"
    );
}

/// The labels that every sample of a service has.
struct Labels<'a>(&'a Sample<'a>);

impl std::fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (service, address) = (Escaped(self.0.service), Escaped(self.0.address));
        write!(f, "service=\"{service}\",address=\"{address}\"")
    }
}

/// A label's value: backslash, quote and newline are escaped, and nothing else may be.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            _ => f.write_char(character),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::statistics::exit_word;

    fn text(family: Family, statistics: &Statistics) -> String {
        let sample = Sample {
            service: "a\"b\\\n",
            address: "[::1]:7",
            up: true,
            running: 2,
            waiting: 0,
            statistics: Some(statistics),
            certificate_ends: None,
        };
        let mut out = String::new();
        samples(family, &sample, &mut out);
        out
    }

    #[test]
    fn labels_are_escaped() {
        let text = text(Family::Running, &Statistics::default());
        let labels = r#"service="a\"b\\\n",address="[::1]:7""#;
        assert_eq!(text, format!("oxinetd_service_running{{{labels}}} 2\n"));
    }

    #[test]
    fn counts_have_their_word() {
        let mut counters = Statistics::default();
        counters.refused("cps");
        counters.ended(exit_word(3), Duration::from_millis(2));
        assert!(text(Family::Refused, &counters).ends_with(",reason=\"cps\"} 1\n"));
        assert!(text(Family::Exits, &counters).ends_with(",status=\"3\"} 1\n"));
        let run = text(Family::RunSeconds, &counters);
        assert!(run.contains("le=\"0.001\"} 0\n") && run.contains("le=\"0.005\"} 1\n"), "{run}");
        assert!(run.contains("le=\"+Inf\"} 1\n") && run.contains("_sum{") && run.contains("0.002"));
    }

    #[test]
    fn what_never_happened_is_not_told() {
        assert_eq!(text(Family::StartSeconds, &Statistics::default()), "");
    }
}
