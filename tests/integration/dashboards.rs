//! What `etc` has for those who look at many servers: alerts and a dashboard that name what a
//! server says, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::needs::search_path;
use crate::common::tls::make_certificate;
use crate::common::{
    Folder, Setup, ask, free_port, free_ports, need_program, own_line, read_all, shell, tcp,
    tcp_line, wait_until,
};

fn shipped(name: &str) -> String {
    format!("{}/etc/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").env("PATH", search_path()).args(arguments).output();
    let output = output.unwrap();
    let words = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&words));
}

/// What is asked by the dashboard.
fn expressions() -> Vec<String> {
    let text = fs::read_to_string(shipped("grafana/oxinetd.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let panels = all["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// The names that a server of ours has in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("oxinetd_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

#[test]
fn every_alert_is_raised_by_what_it_is_for_and_by_nothing_else() {
    if !need_program("promtool") {
        return;
    }
    promtool(&["check", "rules", &shipped("prometheus/alerts.yml")]);
    promtool(&["test", "rules", &shipped("prometheus/alerts_test.yml")]);
}

#[test]
fn the_dashboard_asks_what_prometheus_understands() {
    if !need_program("promtool") {
        return;
    }
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    let all = expressions();
    for (index, expression) in all.iter().enumerate() {
        let plain = expression.replace("$__rate_interval", "5m").replace('$', "");
        rules += &format!("      - record: panel_{index}\n        expr: |\n          {plain}\n");
    }
    let folder = Folder::new();
    let file = folder.write("rules.yml", &rules);
    promtool(&["check", "rules", file.to_str().unwrap()]);
    assert!(all.len() > 15, "{all:?}");
}

#[test]
fn alerts_and_the_dashboard_name_what_a_server_says() {
    let (metrics, one, other) = (free_port(), free_port(), free_port());
    let text = tcp_line(one, "/bin/date date")
        + &tcp_line(other, "/bin/date date")
        + "    no_access = 127.0.0.1\n";
    let daemon = Setup::new().controlled().arg("--metrics").arg(&metrics.to_string()).start(&text);
    assert!(!read_all(tcp(one)).is_empty());
    let _ = crate::common::clients::read_to_any_end(tcp(other));
    let _ = daemon.wait_log(|line| line.about("ended", one));
    let _ = daemon.wait_log(|line| line.about("refused", other));
    let said = names_in(&ask(metrics, "GET /metrics HTTP/1.0\r\n\r\n"));
    let alerts = fs::read_to_string(shipped("prometheus/alerts.yml")).unwrap();
    let asked = names_in(&(alerts + &expressions().join("\n")));
    let unknown: Vec<&String> = asked.difference(&said).collect();
    assert!(unknown.is_empty() && asked.len() > 12, "{unknown:?} of {asked:?}");
    // And everything that a server counts can be seen somewhere.
    let shown = expressions().join("\n");
    let unseen = |name: &&String| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        !shown.contains(base.unwrap_or(name)) && name.starts_with("oxinetd_service_")
    };
    let unseen: Vec<&String> = said.iter().filter(unseen).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

/// A real Prometheus, ended with the test.
struct Prometheus(Child, u16);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Prometheus {
    /// One that asks at this port every second.
    fn start(folder: &Folder, metrics: u16) -> Self {
        let port = free_port();
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: oxinetd\n    \
             static_configs:\n      - targets: ['127.0.0.1:{metrics}']\n"
        );
        let config = folder.write("prometheus.yml", &config);
        let mut prometheus = Command::new("prometheus");
        prometheus
            .env("PATH", search_path())
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.name("samples")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(prometheus.spawn().unwrap(), port)
    }

    /// Whether it knows a number for this.
    fn knows(&self, expression: &str) -> bool {
        let mut promtool = Command::new("promtool");
        promtool.env("PATH", search_path()).args(["query", "instant"]);
        let server = format!("http://127.0.0.1:{}", self.1);
        let output = promtool.args([&server, expression]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // `{labels} => value @[time]`
        let mut values = text.lines().filter_map(|line| line.rsplit_once(" => "));
        output.status.success() && values.any(|(_, value)| !value.starts_with("NaN"))
    }
}

#[test]
fn every_panel_of_the_dashboard_shows_what_has_happened() {
    let programs = ["prometheus", "promtool", "openssl"];
    if cfg!(not(feature = "tls")) || !programs.iter().all(|program| need_program(program)) {
        return;
    }
    let ports = free_ports(5);
    let folder = Folder::new();
    make_certificate(&folder, "site", "DNS:site.example", "30");
    let gone = folder.copy_of("/bin/true", "gone");
    let text = tcp_line(ports[1], &shell("echo said >&2; exit 3"))
        + &tcp_line(ports[2], "/bin/date date")
        + "    no_access = 127.0.0.1\n"
        + &own_line(ports[3], &format!("{gone} gone"))
        + &tcp_line(ports[4], "/bin/date date")
        + &format!("    tls = {} {}\n", folder.name("site.pem"), folder.name("site.key"));
    let other = Folder::new();
    let daemon = Setup::new().arg("--metrics").arg(&ports[0].to_string()).start_in(folder, &text);
    std::fs::remove_file(&gone).unwrap();
    let prometheus = Prometheus::start(&other, ports[0]);
    let asked = |expression: String| {
        let expression = expression.replace("$__rate_interval", "20s").replace("$job", "oxinetd");
        expression.replace("$instance", ".*").replace("$service", ".*")
    };
    let mut unknown: Vec<String> = expressions().into_iter().map(asked).collect();
    // A rate is what comes between two looks: clients go on coming.
    wait_until("every panel to have something to show", || {
        for port in &ports[1..4] {
            let _ = crate::common::clients::read_to_any_end(tcp(*port));
        }
        unknown.retain(|expression| !prometheus.knows(expression));
        unknown.is_empty()
    });
    assert!(prometheus.knows("up") && !prometheus.knows("oxinetd_nothing"));
    drop(daemon);
}
