//! What stands in front of programs: TLS, a PROXY header, a terminal; beside others that do
//! the same, and with what was to be reached.

mod handshakes;
mod servers;
mod terminals;
mod through;
mod verdicts;

use crate::Result;
use crate::context::Context;
use servers::Certificate;
use verdicts::Verdicts;

pub(crate) fn run(context: &Context) -> Result<()> {
    let mut verdicts = Verdicts::new();
    let length = std::fs::metadata(context.server())?.len() as f64;
    verdicts.at_most("the program with TLS, MiB", length / f64::from(1 << 20), 5.0);
    handshakes::headers(context, &mut verdicts)?;
    match Certificate::make(context) {
        Ok(certificate) => {
            handshakes::run(context, &certificate, &mut verdicts)?;
            handshakes::neighbours(context, &certificate, &mut verdicts)?;
            through::bulk(context, &certificate, &mut verdicts)?;
            through::idle(context, &certificate, &mut verdicts)?;
        }
        Err(error) => println!("missing: what is behind TLS: {error}"),
    }
    terminals::run(context, &mut verdicts)?;
    verdicts.print();
    Ok(())
}
