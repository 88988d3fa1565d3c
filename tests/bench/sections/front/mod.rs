//! What stands in front of programs: TLS, a PROXY header, a terminal; beside others that do
//! the same, and with what was to be reached. One function a section, each with its verdicts.

mod handshaking;
mod servers;
mod terminal;
mod through;
mod verdicts;

use crate::Result;
use crate::context::Context;
use servers::Certificate;
use verdicts::Verdicts;

/// The same service with a PROXY header and without.
pub(crate) fn proxy(context: &Context) -> Result<()> {
    judged(|verdicts| handshaking::headers(context, verdicts))
}

/// Handshakes, full and resumed, with a program behind each.
pub(crate) fn handshakes(context: &Context) -> Result<()> {
    let length = std::fs::metadata(context.server())?.len() as f64;
    behind_tls(context, |certificate, verdicts| {
        verdicts.at_most("the program with TLS, MiB", length / f64::from(1 << 20), 5.0);
        handshaking::run(context, certificate, verdicts)
    })
}

/// A plain service, while others do handshakes.
pub(crate) fn neighbours(context: &Context) -> Result<()> {
    behind_tls(context, |it, verdicts| handshaking::neighbours(context, it, verdicts))
}

/// Many bytes through a program.
pub(crate) fn bulk(context: &Context) -> Result<()> {
    behind_tls(context, |it, verdicts| through::bulk(context, it, verdicts))
}

/// What connections weigh on which nothing happens.
pub(crate) fn idle(context: &Context) -> Result<()> {
    behind_tls(context, |it, verdicts| through::idle(context, it, verdicts))
}

/// Programs that have a terminal.
pub(crate) fn terminals(context: &Context) -> Result<()> {
    judged(|verdicts| terminal::run(context, verdicts))
}

/// A section for which there must be a certificate.
fn behind_tls(
    context: &Context,
    section: impl FnOnce(&Certificate, &mut Verdicts) -> Result<()>,
) -> Result<()> {
    match Certificate::make(context) {
        Ok(certificate) => judged(|verdicts| section(&certificate, verdicts)),
        Err(error) => {
            println!("missing: what is behind TLS: {error}");
            Ok(())
        }
    }
}

/// A section, and then what was to be reached.
fn judged(section: impl FnOnce(&mut Verdicts) -> Result<()>) -> Result<()> {
    let mut verdicts = Verdicts::new();
    section(&mut verdicts)?;
    verdicts.print();
    Ok(())
}
