//! What is compared: this server with something in front of its programs, others in front of
//! this server's plain service, and others that start programs themselves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::clients::{Clients, Speech};
use crate::context::Context;
use crate::daemon::{Daemon, Log, Oxinetd, Setup};
use crate::sections::{hello_words, lesser_user, line};

/// Where nginx has its module for streams.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A certificate, its key, and both in one file.
pub(super) struct Certificate {
    pub(super) own: PathBuf,
    pub(super) key: PathBuf,
    pub(super) both: PathBuf,
}

impl Certificate {
    pub(super) fn make(context: &Context) -> Result<Self> {
        let made = Self {
            own: context.path("site.pem"),
            key: context.path("site.key"),
            both: context.path("site.both"),
        };
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        command.args(["-nodes", "-days", "90", "-subj", "/CN=localhost"]);
        command.args(["-addext", "subjectAltName=DNS:localhost"]);
        command.arg("-keyout").arg(&made.key).arg("-out").arg(&made.own);
        let output = command.output().map_err(|error| format!("openssl: {error}"))?;
        if !output.status.success() {
            return Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let both = [std::fs::read(&made.own)?, std::fs::read(&made.key)?].concat();
        std::fs::write(&made.both, both)?;
        Ok(made)
    }

    /// The attribute.
    pub(super) fn attribute(&self) -> String {
        format!("    tls = {} {}\n", self.own.display(), self.key.display())
    }
}

/// A server, and what stands in front of it if that is one of its own.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// All that work for a connection; the one in front is the first.
    pub(super) daemons: Vec<Daemon>,
}

impl Server {
    /// This server: a program behind these attributes.
    pub(super) fn ours(
        context: &Context,
        name: &'static str,
        program: &[String],
        attributes: &str,
    ) -> Result<Self> {
        let address = context.port()?;
        let file = line(address, lesser_user(context), program) + attributes;
        let setup = Setup { file: &file, ready: address, options: &[], quiet: false };
        let daemon = Oxinetd::start(context, &setup)?.daemon;
        Ok(Self { name, address, daemons: vec![daemon] })
    }

    /// Another program, which `command` makes of the address that it listens on, and which has
    /// this server behind it if it asks for the address of that.
    fn other(
        context: &Context,
        name: &'static str,
        program: &[String],
        command: impl FnOnce(SocketAddr, &mut dyn FnMut() -> Result<SocketAddr>) -> Result<Command>,
    ) -> Result<Self> {
        let address = context.port()?;
        let mut behind = Vec::new();
        let mut start = || {
            let plain = Self::ours(context, "", program, "")?;
            behind.extend(plain.daemons);
            Ok(plain.address)
        };
        let command = command(address, &mut start)?;
        let log = context.path(&format!("front-{}.log", address.port()));
        let mut daemons = vec![Daemon::start(&command, address, Log::File(&log))?];
        daemons.extend(behind);
        Ok(Self { name, address, daemons })
    }

    /// It, if one client gets what it wants.
    pub(super) fn tried(self, speech: &Speech) -> Result<Self> {
        let time = std::time::Duration::from_millis(20);
        let trial = Clients { target: self.address, in_flight: 1, speech: speech.clone(), time };
        trial.run()?.check_any("a first connection")?;
        Ok(self)
    }
}

pub(super) fn haproxy(context: &Context, it: &Certificate, program: &[String]) -> Result<Server> {
    Server::other(context, "haproxy + oxinetd", program, |address, behind| {
        let text = format!(
            "global\n maxconn 4000\ndefaults\n mode tcp\n timeout connect 5s\n \
             timeout client 60s\n timeout server 60s\nfrontend front\n bind {address} ssl crt {}\n \
             default_backend back\nbackend back\n server one {}\n",
            it.both.display(),
            behind()?,
        );
        let file = written(context, "haproxy", address, &text)?;
        let mut command = Command::new(installed("haproxy")?);
        command.arg("-db").arg("-f").arg(file);
        Ok(command)
    })
}

pub(super) fn nginx(context: &Context, it: &Certificate, program: &[String]) -> Result<Server> {
    Server::other(context, "nginx + oxinetd", program, |address, behind| {
        let target = format!("proxy_pass {}", behind()?);
        nginx_command(context, it, address, &target)
    })
}

/// nginx, which answers hello from its memory.
pub(super) fn limit(context: &Context, it: &Certificate) -> Result<Server> {
    Server::other(context, "limit (nginx, no program)", &[], |address, _| {
        nginx_command(context, it, address, "return \"hello\\n\"")
    })
}

fn nginx_command(
    context: &Context,
    it: &Certificate,
    address: SocketAddr,
    does: &str,
) -> Result<Command> {
    if !Path::new(STREAM_MODULE).exists() {
        return Err("libnginx-mod-stream is not installed".into());
    }
    let folder = context.dir.path().display();
    let processes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let text = format!(
        "load_module {STREAM_MODULE};\ndaemon off;\nworker_processes {processes};\n\
         worker_rlimit_nofile 20000;\n\
         pid {folder}/nginx-{port}.pid;\nerror_log {folder}/nginx-{port}.log;\n\
         events {{ worker_connections 10000; }}\nstream {{\n ssl_certificate {own};\n \
         ssl_certificate_key {key};\n ssl_protocols TLSv1.2 TLSv1.3;\n \
         server {{ listen {address} ssl backlog=4096; {does}; }}\n}}\n",
        port = address.port(),
        own = it.own.display(),
        key = it.key.display(),
    );
    let file = written(context, "nginx", address, &text)?;
    let mut command = Command::new(installed("nginx")?);
    command.arg("-c").arg(file).arg("-e").arg(context.path("nginx-start.log"));
    Ok(command)
}

pub(super) fn stunnel(context: &Context, it: &Certificate, program: &[String]) -> Result<Server> {
    Server::other(context, "stunnel exec", program, |address, _| {
        let [path, arguments @ ..] = program else { return Err("no program".into()) };
        let text = format!(
            "foreground = yes\npid =\nsyslog = no\ndebug = 2\noutput = {log}\n[hello]\n\
             accept = {address}\ncert = {own}\nkey = {key}\nexec = {path}\nexecArgs = {words}\n",
            log = context.path(&format!("stunnel-{}.log", address.port())).display(),
            own = it.own.display(),
            key = it.key.display(),
            words = arguments.join(" "),
        );
        let file = written(context, "stunnel", address, &text)?;
        let mut command = Command::new(installed("stunnel")?);
        command.arg(file);
        Ok(command)
    })
}

pub(super) fn socat(context: &Context, it: &Certificate, program: &[String]) -> Result<Server> {
    Server::other(context, "socat", program, |address, _| {
        let mut command = Command::new(installed("socat")?);
        command.arg(format!(
            "OPENSSL-LISTEN:{},bind={},reuseaddr,fork,backlog=1024,verify=0,cert={}",
            address.port(),
            address.ip(),
            it.both.display(),
        ));
        command.arg(format!("EXEC:{}", path_and_words(program)));
        Ok(command)
    })
}

pub(super) fn ncat(context: &Context, it: &Certificate, program: &[String]) -> Result<Server> {
    Server::other(context, "ncat", program, |address, _| {
        let mut command = Command::new(installed("ncat")?);
        command.arg("--ssl").arg("--ssl-cert").arg(&it.own).arg("--ssl-key").arg(&it.key);
        command.args(["-k", "-m", "1000", "-e", &path_and_words(program), "-l"]);
        command.arg(address.ip().to_string()).arg(address.port().to_string());
        Ok(command)
    })
}

/// These two split words themselves, and have argv\[0\] from the path.
fn path_and_words(program: &[String]) -> String {
    let words =
        program.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, word)| word.as_str());
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn installed(name: &str) -> Result<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    let found = places.iter().map(|place| Path::new(place).join(name)).find(|it| it.exists());
    found.ok_or_else(|| format!("{name} is not installed").into())
}

fn written(context: &Context, name: &str, address: SocketAddr, text: &str) -> Result<PathBuf> {
    let file = context.path(&format!("{name}-{}.conf", address.port()));
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Those that can be had, and why the others cannot.
pub(super) fn gather(all: Vec<(&str, Result<Server>)>) -> Vec<Server> {
    let mut found = Vec::new();
    for (name, server) in all {
        match server {
            Ok(server) => found.push(server),
            Err(error) => println!("missing: {name}: {error}"),
        }
    }
    found
}

/// hello, as all of them are to run it.
pub(super) fn hello(context: &Context) -> Vec<String> {
    hello_words(context)
}
