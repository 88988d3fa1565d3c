//! What one cause says at many places is said once, with all of them: a program that is not
//! there, or a certificate that has expired, may be that of a hundred services.

use std::collections::HashMap;

use super::{Diagnostic, Severity};

/// What makes two findings the same.
type SameFinding = (Severity, bool, String, Option<String>);

/// Findings of what this machine has or lacks, each once: at its first place, which has the
/// others.
pub(in crate::config) fn gather(findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut gathered: Vec<Diagnostic> = Vec::with_capacity(findings.len());
    let mut known: HashMap<SameFinding, usize> = HashMap::new();
    for finding in findings {
        if !is_of_the_machine(&finding) {
            gathered.push(finding);
            continue;
        }
        let Diagnostic { severity, contained, ref message, ref help, .. } = finding;
        let same = (severity, contained, message.clone(), help.clone());
        let at = *known.entry(same).or_insert(gathered.len());
        match gathered.get_mut(at) {
            Some(first) => first.also.extend(finding.span.into_iter().chain(finding.also)),
            None => gathered.push(finding),
        }
    }
    gathered
}

/// Whether it is about something that is not here, and not about what the file says.
fn is_of_the_machine(finding: &Diagnostic) -> bool {
    let lacks = finding.severity == Severity::Warning && finding.costs_a_service();
    (lacks || finding.of_the_machine) && finding.span.is_some() && finding.related.is_none()
}

#[cfg(test)]
mod tests {
    use crate::config::Loaded;
    use crate::config::fake::FakeLookup;
    use crate::config::load;

    fn loaded(text: &str) -> Loaded {
        load("/f".as_ref(), &[], &FakeLookup::with_file("/f", text))
    }

    fn messages(loaded: &Loaded) -> Vec<String> {
        loaded.diagnostics.iter().map(|one| one.one_line()).collect()
    }

    fn not_served(loaded: &Loaded) -> Vec<(String, String)> {
        loaded.config.not_served().map(|one| (one.label, one.why)).collect()
    }

    #[test]
    fn a_missing_program_is_told_once_with_every_place() {
        let line = |port: u16, program: &str| format!("{port} stream tcp nowait root {program}\n");
        let text = line(81, "/bin/nosuch") + &line(82, "cat") + &line(83, "/bin/nosuch x");
        let two = loaded(&text);
        let wanted = "/f:1:27: warning: there is no program `/bin/nosuch`: not served; \
                      neither at /f:3:27 (install it, or correct the path)";
        assert_eq!(messages(&two), [wanted]);
        let of = |line: u16| format!("/f:{line}: there is no program `/bin/nosuch`");
        let each = [("81/tcp".to_owned(), of(1)), ("83/tcp".to_owned(), of(3))];
        assert_eq!(not_served(&two), each, "each has its own place");
        assert!(two.diagnostics[0].render().ends_with("\n  = also: /f:3:27"), "{two:?}");
        let other = loaded(&(text + &line(84, "/bin/another")));
        assert_eq!(other.diagnostics.len(), 2, "{:?}", messages(&other));
    }

    #[test]
    fn a_user_who_is_missing_for_several_services_is_told_once() {
        let line = |port: u16| format!("{port} stream tcp nowait nosuchuser cat\n");
        let messages = messages(&loaded(&(line(81) + &line(82) + &line(83))));
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains("; neither at /f:2:22 and /f:3:22"), "{messages:?}");
    }

    #[test]
    fn the_log_lists_some_and_a_check_all() {
        let line = |port: u16| format!("{port} stream tcp nowait root /bin/nosuch\n");
        let text: String = (1001..=1040).map(line).collect();
        let loaded = loaded(&text);
        let [only] = loaded.diagnostics.as_slice() else { panic!("{:?}", messages(&loaded)) };
        let one_line = only.one_line();
        assert!(one_line.contains("/f:13:29 and 27 more"), "{one_line}");
        assert!(only.render().ends_with("/f:39:29, /f:40:29"), "{}", only.render());
    }

    #[test]
    fn a_file_that_several_services_share_is_told_once_whatever_is_wrong_with_it() {
        for (attribute, begins, and) in [
            ("tls = no.pem no.key", "/f:2:11: error: cannot read `/no.pem`", "; neither at"),
            ("banner = no.txt", "/f:2:14: warning: cannot read `/no.txt`", "; so at"),
            ("only_from = @no.list", "/f:2:17: warning: cannot read `/no.list`", "; neither at"),
        ] {
            let line = |port: u16| format!("{port} stream tcp nowait root cat\n    {attribute}\n");
            let messages = messages(&loaded(&(line(81) + &line(82) + &line(83))));
            let about = messages.iter().filter(|line| line.starts_with(begins));
            let about: Vec<&String> = about.collect();
            let files = attribute.matches("no.").count();
            assert_eq!((about.len(), messages.len()), (1, files), "{messages:?}");
            let place = begins.split(' ').next().unwrap().trim_end_matches(':');
            let [second, third] = [4, 6].map(|line| place.replace(":2:", &format!(":{line}:")));
            assert!(about[0].contains(&format!("{and} {second} and {third}")), "{messages:?}");
        }
    }

    #[test]
    fn what_each_line_says_wrong_is_told_of_each() {
        let text = "81 strem tcp nowait root cat\n82 strem tcp nowait root cat\n";
        assert_eq!(loaded(text).diagnostics.len(), 2);
    }
}
