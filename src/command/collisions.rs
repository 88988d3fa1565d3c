//! Services whose sockets the server would have itself, for commands, metrics or the page: they
//! cannot listen, which nobody finds out from an address that is in use.

use std::path::Path;

use crate::config::Loaded;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::model::{Service, SocketType};
use crate::control::socket;

/// An option and the endpoint that it names.
pub(super) type Ours = Vec<(&'static str, String)>;

/// What the command line says of them.
pub(super) fn said(metrics: Option<&str>, page: Option<&str>, control: Option<&Path>) -> Ours {
    let control = control.map(|path| path.to_string_lossy().into_owned());
    let all = [("--metrics", metrics), ("--page", page), ("--control", control.as_deref())];
    let said = all.into_iter().filter_map(|(option, text)| Some((option, text?.to_owned())));
    said.collect()
}

/// A warning for each service that collides with one of them.
pub(super) fn warn(loaded: &mut Loaded, ours: &Ours) {
    let services = loaded.config.services.iter();
    let found = services.filter_map(|service| warning(service, ours)).collect::<Vec<_>>();
    loaded.diagnostics.extend(found);
}

fn warning(service: &Service, ours: &Ours) -> Option<Diagnostic> {
    let is_stream = |kind: SocketType| kind == SocketType::Stream;
    let sockets = || service.sockets.iter().filter(|it| is_stream(it.socket_type));
    let collides = |text: &str| sockets().any(|it| socket::collides(text, &it.endpoint));
    let (option, text) = ours.iter().find(|(_, text)| collides(text))?;
    let place = match service.origin.line {
        0 => String::new(),
        line => format!("{}:{line}: ", service.origin.file),
    };
    Some(Diagnostic {
        severity: Severity::Warning,
        span: None,
        message: format!("{place}`{}` cannot listen: `{option} {text}` is there", service.label),
        help: Some("give one of them another port, path or address".to_owned()),
        related: None,
        also: Vec::new(),
        contained: false,
        of_the_machine: false,
    })
}

#[cfg(test)]
mod tests {
    use super::{said, warn};
    use crate::config::fake::FakeLookup;
    use crate::config::load;

    #[test]
    fn whatever_cannot_be_beside_each_other_is_told() {
        let text = "8080 stream tcp nowait - cat\n8080 dgram udp wait - cat\n\
                    127.0.0.1:8081 stream tcp nowait - cat\n/run/x stream unix nowait - cat\n";
        for (metrics, page, control, lines) in [
            (None, None, None, &[][..]),
            (Some("8082"), Some("/run/y"), Some("/run/z"), &[]),
            (Some("8080"), None, None, &["/f:1: `8080/tcp` cannot listen: `--metrics 8080`"]),
            (Some("*:8081"), None, None, &["/f:3: `8081/tcp`"]),
            (Some("127.0.0.2:8081"), Some("[::1]:8081"), None, &[]),
            (None, Some("[::1]:8080"), Some("/run/x"), &["--page", "/f:4: `/run/x` cannot listen"]),
        ] {
            let mut loaded = load("/f".as_ref(), &[], &FakeLookup::with_file("/f", text));
            warn(&mut loaded, &said(metrics, page, control.map(str::as_ref)));
            let told: Vec<String> = loaded.diagnostics.iter().map(|it| it.one_line()).collect();
            assert_eq!(told.len(), lines.len(), "{told:?}");
            assert!(told.iter().zip(lines).all(|(told, wanted)| told.contains(wanted)), "{told:?}");
        }
    }
}
