//! Findings and models, as everything that reads a configuration leaves them behind.

use std::path::{Path, PathBuf};

use crate::fake::FakeLookup;
use oxinetd::config::diagnostic::Diagnostic;
use oxinetd::config::model::{Config, Service};
use oxinetd::config::print::inetd_conf;
use oxinetd::config::{load, summary};

/// Every place lies in its file, on characters, and every text can be shown.
pub(super) fn are_sound(findings: &[Diagnostic]) {
    for finding in findings {
        let spans = finding.span.iter().chain(finding.related.iter().map(|(span, _)| span));
        for span in spans {
            assert!(span.source.text.get(span.start..span.end).is_some(), "{finding:?}");
        }
        let shown = |text: &str| text.chars().all(|it| it == '\n' || !it.is_control());
        assert!(shown(&finding.render()), "{finding:?}");
        assert!(!finding.one_line().contains(char::is_control), "{finding:?}");
    }
}

/// What is printed reads back to an equal model, without an error.
pub(super) fn prints_and_reads_back(config: &Config, machine: &FakeLookup) {
    let printed = inetd_conf(config, machine);
    let mut machine = machine.clone();
    machine.files.insert(PathBuf::from("printed"), printed.clone().into_bytes());
    let again = load(Path::new("printed"), &[], &machine);
    let errors = &again.diagnostics;
    assert_eq!(summary(errors).0, 0, "{printed}\n{errors:#?}");
    assert_eq!(without_places(config), without_places(&again.config), "{printed}");
}

/// The services without what a line has not: the place of another one, an id.
fn without_places(config: &Config) -> Vec<Service> {
    let all = config.services.iter().chain(&config.disabled);
    all.map(|service| Service {
        origin: Default::default(),
        id: None,
        name: None,
        ..(**service).clone()
    })
    .collect()
}
