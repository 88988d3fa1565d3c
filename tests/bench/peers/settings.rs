//! How each peer is set up: as fast as it can be, without limits and without a log.

use std::path::PathBuf;
use std::process::Command;

use super::Job;
use crate::Result;
use crate::context::Context;

pub(super) fn xinetd(context: &Context, mut command: Command, job: &Job<'_>) -> Result<Command> {
    let port = job.address.port();
    let file = context.path(&format!("xinetd-{port}.conf"));
    // An empty attribute is a mistake to it.
    let server_args = match job.arguments.get(1..) {
        None | Some([]) => String::new(),
        Some(words) => format!(" server_args = {}\n", words.join(" ")),
    };
    let text = format!(
        "defaults\n{{\n instances = UNLIMITED\n per_source = UNLIMITED\n cps = 1000000 1\n}}\n\
         service bench\n{{\n type = UNLISTED\n port = {port}\n bind = {}\n socket_type = stream\n \
         protocol = tcp\n wait = no\n user = {}\n server = {}\n{} \
         flags = NOLIBWRAP\n}}\n",
        job.address.ip(),
        job.user,
        job.program.display(),
        server_args,
    );
    std::fs::write(&file, text)?;
    command.arg("-dontfork").arg("-f").arg(file);
    command.arg("-pidfile").arg(context.path(&format!("xinetd-{port}.pid")));
    // Without a syslog daemon it does not start otherwise.
    command.arg("-filelog").arg(context.path(&format!("xinetd-{port}.filelog")));
    Ok(command)
}

pub(super) fn openbsd_inetd(
    context: &Context,
    mut command: Command,
    job: &Job<'_>,
) -> Result<Command> {
    command.args(["-i", "-q", "1024", "-R", "2000000000"]).arg(inetd_file(context, job)?);
    Ok(command)
}

pub(super) fn busybox_inetd(
    context: &Context,
    mut command: Command,
    job: &Job<'_>,
) -> Result<Command> {
    // -R 0: it counts no connections at all. -e: to stderr, where a tail of it is shown.
    command.args(["-f", "-e", "-q", "1024", "-R", "0"]).arg(inetd_file(context, job)?);
    Ok(command)
}

/// One line, as every inetd reads it.
fn inetd_file(context: &Context, job: &Job<'_>) -> Result<PathBuf> {
    let file = context.path(&format!("inetd-{}.conf", job.address.port()));
    let line = format!(
        "{} stream tcp nowait {} {} {}\n",
        job.address,
        job.user,
        job.program.display(),
        job.arguments.join(" ")
    );
    std::fs::write(&file, line)?;
    Ok(file)
}

pub(super) fn busybox_tcpsvd(_: &Context, mut command: Command, job: &Job<'_>) -> Result<Command> {
    // -E: no environment; with it no address is turned into text either.
    command.args(["-E", "-c", "100000", "-b", "1024"]);
    Ok(address_and_program(command, job))
}

pub(super) fn tcpserver(_: &Context, mut command: Command, job: &Job<'_>) -> Result<Command> {
    command.args(["-q", "-H", "-R", "-P", "-l0", "-c", "100000", "-b", "1024"]);
    Ok(address_and_program(command, job))
}

/// Both give the program its own path as argv[0].
fn address_and_program(mut command: Command, job: &Job<'_>) -> Command {
    command.arg(job.address.ip().to_string()).arg(job.address.port().to_string());
    command.arg(job.program).args(job.arguments.get(1..).unwrap_or_default());
    command
}

pub(super) fn systemd_socket_activate(
    _: &Context,
    mut command: Command,
    job: &Job<'_>,
) -> Result<Command> {
    command.args(["--accept", "--inetd", "--listen"]).arg(job.address.to_string());
    command.arg(job.program).args(job.arguments.get(1..).unwrap_or_default());
    Ok(command)
}
