//! Counters and signs of life over HTTP, read by the tools that read such things.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::common::clients::read_to_any_end;
use crate::common::needs::search_path;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, need_program, read_all, read_line, shell, tcp,
    tcp_line, wait_until,
};

/// A server with metrics on this port.
fn measured(text: &str, port: u16) -> Daemon {
    Setup::new().controlled().arg("--metrics").arg(&port.to_string()).start(text)
}

/// What curl gets.
#[track_caller]
fn curl(arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.env("PATH", search_path()).args(["--silent", "--show-error", "--max-time", "30"]);
    let output = curl.args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

fn page(port: u16, path: &str) -> String {
    curl(&[&format!("http://127.0.0.1:{port}{path}")])
}

/// The status and the text of an answer to raw bytes.
#[track_caller]
fn http(port: u16, request: &str) -> (u16, String) {
    let mut stream = tcp(port);
    stream.write_all(request.as_bytes()).unwrap();
    let answer = read_to_any_end(stream);
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer:?}")), answer)
}

/// The value of one sample.
#[track_caller]
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let fits = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<&str> = text.lines().filter(fits).collect();
    assert!(found.len() < 2, "{found:?}");
    found.first().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn counters_are_what_prometheus_reads_and_what_happened() {
    if !need_program("curl") || !need_program("promtool") {
        return;
    }
    let (metrics, one, other, idle) = (free_port(), free_port(), free_port(), free_port());
    let text = tcp_line(one, "/bin/sh sh -c 'exit 3'")
        + &tcp_line(other, "/bin/date date")
        + "    no_access = 127.0.0.1\n"
        + &tcp_line(idle, "/bin/date date");
    let daemon = measured(&text, metrics);
    for _ in 0..4 {
        assert_eq!(read_all(tcp(one)), "");
    }
    for _ in 0..2 {
        assert_eq!(read_to_any_end(tcp(other)), "");
    }
    let label = format!("service=\"{one}/tcp\"");
    let exits = "oxinetd_service_exits_total";
    wait_until("the ends to be counted", || {
        sample(&page(metrics, "/metrics"), exits, &[&label, "status=\"3\""]) == Some(4.0)
    });
    let text = page(metrics, "/metrics");
    let of = |name: &str, labels: &[&str]| sample(&text, name, labels);
    assert_eq!(of("oxinetd_service_accepted_total", &[&label]), Some(4.0));
    assert_eq!(of("oxinetd_service_run_seconds_count", &[&label]), Some(4.0));
    assert_eq!(of("oxinetd_service_start_seconds_bucket", &[&label, "+Inf"]), Some(4.0));
    assert_eq!(of("oxinetd_service_up", &[&label]), Some(1.0));
    let label = format!("service=\"{other}/tcp\"");
    let refused = of("oxinetd_service_refused_total", &[&label, "reason=\"access\""]);
    assert_eq!(refused, Some(2.0));
    assert_eq!(of("oxinetd_accepted_total", &[]), Some(4.0));
    assert_eq!(of("oxinetd_refused_total", &[]), Some(2.0));
    assert!(of("process_resident_memory_bytes", &[]).unwrap() > 100_000.0);
    assert!(of("process_cpu_seconds_total", &[]).unwrap() >= 0.0);
    let most = of("process_max_fds", &[]).unwrap();
    // Older kernels do not count them.
    assert!(of("process_open_fds", &[]).is_none_or(|open| open > 5.0 && open < most));
    read_by_promtool(&text);

    daemon.answer(&["stop", &one.to_string()]);
    let label = format!("service=\"{one}/tcp\"");
    assert_eq!(sample(&page(metrics, "/metrics"), "oxinetd_service_up", &[&label]), Some(0.0));
}

/// `promtool check metrics` finds nothing wrong, and something in a wrong text.
#[track_caller]
fn read_by_promtool(text: &str) {
    let check = |text: &str| {
        let mut promtool = Command::new("promtool");
        let mut child = promtool
            .env("PATH", search_path())
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let words = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&words).into_owned())
    };
    assert_eq!(check(text), (true, String::new()), "{text}");
    let (good, words) = check(&text.replace("oxinetd_service_up{", "oxinetd_service_up{,"));
    assert!(!good, "{words}");
}

#[test]
fn counters_outlive_their_service_in_the_totals() {
    let (metrics, one, other) = (free_port(), free_port(), free_port());
    let daemon = measured(&tcp_line(one, "/bin/echo echo yes"), metrics);
    assert_eq!(read_all(tcp(one)), "yes\n");
    daemon.reload(&tcp_line(other, "/bin/echo echo yes"));
    assert_eq!(read_all(tcp(other)), "yes\n");
    let (status, text) = http(metrics, "GET /metrics HTTP/1.0\r\n\r\n");
    assert_eq!((status, sample(&text, "oxinetd_accepted_total", &[])), (200, Some(2.0)));
    let old = format!("service=\"{one}/tcp\"");
    assert_eq!(sample(&text, "oxinetd_service_accepted_total", &[&old]), None);
}

#[test]
fn the_pages_are_http() {
    let metrics = free_port();
    let _daemon = measured("", metrics);
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /readyz HTTP/1.0\r\n\r\n", 200),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("\x16\x03\x01\x02", 400),
        ("nonsense\r\n\r\n", 400),
    ] {
        let (answered, text) = http(metrics, request);
        assert_eq!(answered, status, "{request:?}: {text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body.is_empty(), request.starts_with("HEAD"), "{text}");
    }
    let (_, nowhere) = http(metrics, "GET / HTTP/1.1\r\n\r\n");
    assert!(nowhere.contains("there are /metrics, /healthz and /readyz"), "{nowhere}");
    let endless = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(20_000));
    assert_eq!(http(metrics, &endless).0, 431);
}

/// A page of a stranger's, in a browser on this machine, may have a name that leads here.
#[test]
fn whoever_asks_this_machine_for_metrics_of_another_host_is_refused() {
    let port = free_port();
    let daemon = Setup::new()
        .arg("--metrics")
        .arg(&port.to_string())
        .arg("--page-host")
        .arg("box.example")
        .start("");
    let asked = |host: &str| http(port, &format!("GET /metrics HTTP/1.1\r\n{host}\r\n"));
    for host in ["localhost", "127.0.0.1:9090", "[::1]", "box.example:80"] {
        assert_eq!(asked(&format!("Host: {host}\r\n")).0, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1"] {
        let (status, answer) = asked(&format!("Host: {host}\r\n"));
        assert!(status == 421 && !answer.contains("oxinetd_"), "{host}: {answer}");
    }
    assert_eq!(asked("").0, 200, "no browser");
    assert_eq!(http(port, "GET /readyz HTTP/1.1\r\nHost: probe\r\n\r\n").0, 200, "no secret");
    drop(daemon);
    // No browser reaches a path, and who scrapes it calls it what he likes.
    let folder = Folder::new();
    let path = folder.name("metrics");
    let _daemon = Setup::new().arg("--metrics").arg(&path).start("");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: scraper.example\r\n\r\n").unwrap();
    assert!(read_all(stream).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_server_that_drains_is_alive_and_not_ready() {
    let (metrics, port) = (free_port(), free_port());
    let mut daemon = measured(&tcp_line(port, "/bin/cat cat"), metrics);
    let program = tcp(port);
    daemon.accepted(port, 1);
    let mut draining = crate::common::daemon::command(&[]);
    draining.args(["stop", "--drain", "--control"]).arg(daemon.control());
    let mut draining = draining.stdout(Stdio::null()).spawn().unwrap();
    daemon.wait_log(|line| line.is("draining"));
    assert_eq!(http(metrics, "GET /healthz HTTP/1.0\r\n\r\n").0, 200);
    assert_eq!(http(metrics, "GET /readyz HTTP/1.0\r\n\r\n").0, 503);
    drop(program);
    assert!(daemon.wait_exit().success() && draining.wait().unwrap().success());
}

#[test]
fn metrics_are_on_a_unix_socket_too() {
    if !need_program("curl") {
        return;
    }
    let folder = Folder::new();
    let path = folder.name("metrics");
    let daemon = Setup::new().arg("--metrics").arg(&path).start_in(folder, "");
    assert_eq!(curl(&["--unix-socket", &path, "http://localhost/healthz"]), "ok\n");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(daemon);
}

#[test]
fn silent_clients_of_the_endpoint_harm_nobody() {
    let metrics = free_port();
    let daemon = measured("", metrics);
    let silent: Vec<TcpStream> = (0..200).map(|_| tcp(metrics)).collect();
    assert_eq!(http(metrics, "GET /healthz HTTP/1.0\r\n\r\n").0, 200);
    let open = crate::common::procs::descriptors(daemon.pid());
    assert!(open < 100, "{open} descriptors");
    drop(silent);
}

#[test]
fn those_who_let_their_requests_drip_are_in_their_own_way() {
    let metrics = free_port();
    let daemon = measured("", metrics);
    let drip = |clients: &mut Vec<TcpStream>| {
        // Whoever has been closed takes nothing more.
        clients.iter_mut().for_each(|client| _ = client.write_all(b"x"));
    };
    let mut first: Vec<TcpStream> = (0..40).map(|_| tcp(metrics)).collect();
    let mut asks = tcp(metrics);
    asks.write_all(b"GET /healthz HTTP/1.0\r\n").unwrap();
    for _ in 0..5 {
        drip(&mut first);
        // They have been heard by then.
        assert_eq!(http(metrics, "GET /healthz HTTP/1.0\r\n\r\n").0, 200);
    }
    let mut more: Vec<TcpStream> = (0..20).map(|_| tcp(metrics)).collect();
    drip(&mut more);
    asks.write_all(b"\r\n").unwrap();
    assert!(read_to_any_end(asks).starts_with("HTTP/1.1 200 OK\r\n"));
    let open = crate::common::procs::descriptors(daemon.pid());
    assert!(open < 100, "{open} descriptors");
}

#[test]
fn a_request_has_its_time_however_it_drips() {
    let metrics = free_port();
    let _daemon = measured("", metrics);
    let mut slow = tcp(metrics);
    slow.write_all(b"GET / HTTP/1.0\r\nX-Slow: ").unwrap();
    // Without a limit it would have an hour.
    crate::common::wait_until("the slow one to be closed", || slow.write_all(b"x").is_err());
}

#[test]
fn an_endpoint_that_is_none_is_refused() {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", "");
    for (endpoint, status) in [("nonsense", 2), ("127.0.0.1", 2), ("/nowhere/at/all", 71)] {
        let mut server = crate::common::daemon::command(&[]);
        server.arg(&file).args(["--control", "none", "--metrics", endpoint]);
        let output = server.output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{endpoint}: {words}");
        assert!(words.contains(endpoint), "{words}");
    }
}

/// A real load balancer, ended with the test.
struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What haproxy thinks of a server: the column `status` of `show stat`, and its weight.
fn opinion(socket: &str, server: &str) -> Option<(String, u32)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.write_all(b"show stat\n").ok()?;
    let mut table = String::new();
    stream.read_to_string(&mut table).ok()?;
    let head: Vec<&str> = table.lines().next()?.split(',').collect();
    let column = |name: &str| head.iter().position(|word| word.trim_start_matches("# ") == name);
    let (name, status, weight) = (column("svname")?, column("status")?, column("weight")?);
    let rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.get(name) == Some(&server))?;
    Some(((*row.get(status)?).to_owned(), row.get(weight)?.parse().ok()?))
}

#[test]
fn haproxy_checks_services_of_ours() {
    if !need_program("haproxy") {
        return;
    }
    let (health, agent, app, front) = (free_port(), free_port(), free_port(), free_port());
    let folder = Folder::new();
    let state = folder.write("state", "up 50%\n");
    let state = state.to_str().unwrap();
    // What a check of a database cluster does: a page from a shell script. It reads the
    // request before it ends, since closing on unread bytes resets the connection.
    let script = "while read line && [ ${#line} -gt 1 ]; do :; done; \
        printf \"HTTP/1.0 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nup\\n\"";
    let page = folder.script("health", script);
    let own = crate::common::own_line;
    let text = own(health, &page)
        + &own(agent, &format!("/bin/cat cat {state}"))
        + &tcp_line(app, &shell("echo \"hello from the application\""));
    let socket = folder.name("haproxy");
    let haproxy = format!(
        "global\n  stats socket {socket}\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         listen app\n  bind 127.0.0.1:{front}\n  option httpchk GET /\n\
         \x20 server one 127.0.0.1:{app} check port {health} inter 100ms \
         agent-check agent-port {agent} agent-inter 100ms weight 100\n"
    );
    let file = folder.write("haproxy.cfg", &haproxy);
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let mut command = Command::new("haproxy");
    command.env("PATH", search_path()).arg("-db").arg("-f").arg(&file);
    let _haproxy = HaProxy(command.stdout(Stdio::null()).spawn().unwrap());
    let thinks = |status: &str, weight: u32| {
        wait_until(&format!("haproxy to think {status} {weight}"), || {
            opinion(&socket, "one").is_some_and(|(s, w)| s.starts_with(status) && w == weight)
        });
    };
    thinks("UP", 50);
    assert_eq!(read_line(tcp(front)), "hello from the application\n");
    std::fs::write(state, "up 75%\n").unwrap();
    thinks("UP", 75);
    // The page's service stopped: the check fails, until it is started again.
    daemon.answer(&["stop", &health.to_string()]);
    thinks("DOWN", 75);
    daemon.answer(&["start", &health.to_string()]);
    thinks("UP", 75);
}
