//! What is wrong with one file, user or program is said once, however many services have it.

use crate::common::control::controlled;
use crate::common::daemon::command;
use crate::common::{Folder, free_ports, own_line, read_all, tcp, tcp_line};

const SERVICES: u16 = 30;

/// So many lines of services, and what is wrong with all of them.
fn lines(ports: &[u16], program: &str, attributes: &str) -> String {
    ports.iter().map(|port| own_line(*port, program) + attributes).collect()
}

/// How many findings of this kind `oxinetd check` prints, its last line, and all.
fn check(folder: &Folder, text: &str, kind: &str) -> (usize, String, String) {
    let file = folder.write("check.conf", text);
    let output = command(&[]).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let found = said.lines().filter(|line| line.starts_with(&format!("{kind}: "))).count();
    (found, said.lines().last().unwrap_or_default().to_owned(), said)
}

#[test]
fn a_check_says_each_cause_once_with_all_its_places() {
    let (folder, ports) = (Folder::new(), free_ports(SERVICES));
    #[cfg(feature = "tls")]
    let broken = folder.write("broken.pem", "nothing of the kind\n").display().to_string();
    let gone = folder.name("gone");
    let one = |attribute: String| lines(&ports, "/bin/cat cat", &format!("    {attribute}\n"));
    for (text, kind, services) in [
        #[cfg(feature = "tls")]
        (one(format!("tls = {broken} {broken}")), "error", "0 services, 30 not served"),
        (one(format!("only_from = @{gone}")), "warning", "0 services, 30 not served"),
        (one(format!("banner = {gone}")), "warning", "30 services"),
        (one("group = nosuchgroup".to_owned()), "warning", "0 services, 30 not served"),
        (lines(&ports, "/nowhere/at/all x", ""), "warning", "0 services, 30 not served"),
    ] {
        let (found, last, said) = check(&folder, &text, kind);
        assert_eq!(found, 1, "{said}");
        let counted = if kind == "error" { "1 error, 0 warnings" } else { "0 errors, 1 warning" };
        assert!(last.ends_with(&format!(": {services}, {counted}")), "{said}");
        let also = said.lines().find(|line| line.contains("= also: ")).unwrap();
        assert_eq!(also.matches("check.conf:").count(), usize::from(SERVICES) - 1, "{said}");
    }
}

#[test]
fn a_start_and_a_reload_say_it_once() {
    let ports = free_ports(SERVICES + 1);
    let (last, ports) = ports.split_last().unwrap();
    let right = tcp_line(*last, "/bin/echo echo hi");
    let user = |name: &str| -> String {
        let line = |port: &u16| format!("127.0.0.1:{port} stream tcp nowait {name} /bin/cat cat\n");
        ports.iter().map(line).collect()
    };
    let daemon = controlled(&(right.clone() + &user("nosuchuser")));
    let found = daemon.said("configuration");
    assert_eq!(found.len(), 1, "{}", daemon.log.text());
    assert!(found[0].raw.contains(" and 17 more"), "{}", found[0].raw);
    let said = daemon.answer(&["reload"]);
    assert_eq!(said.matches("warning: ").count(), 1, "{said}");
    assert_eq!(read_all(tcp(*last)), "hi\n");
    // Those that run go on, of which it is said together.
    let _ = daemon.reload(&(right.clone() + &user("-")));
    daemon.folder.write("inetd.conf", &(right.clone() + &user("nosuchuser")));
    let said = daemon.answer(&["reload"]);
    assert_eq!(said.matches("warning: ").count(), 2, "{said}");
    assert!(said.contains(" and 18 more are running and go on as they were\n"), "{said}");
    // One broken file is one error.
    let broken = daemon.folder.write("broken.pem", "nothing of the kind\n").display().to_string();
    let tls = format!("    tls = {broken} {broken}\n");
    daemon.folder.write("inetd.conf", &(right + &lines(ports, "/bin/cat cat", &tls)));
    let said = String::from_utf8(daemon.ask(&["reload"]).stdout).unwrap();
    assert!(said.ends_with("not reloaded: 1 error; everything is as it was\n"), "{said}");
    let line = daemon.wait_log(|line| line.is("reload-refused"));
    assert_eq!(line.number("errors"), Some(1), "{}", line.raw);
}
