//! What is as it was with the server whose name it has, and is otherwise under its own.

use nix::sys::signal::Signal;

use crate::common::{Folder, Setup, free_port, free_ports, read_all, shell, tcp, tcp_line};

/// It is what theirs are: GNU's has its own, xinetd takes no less than 022 away.
#[test]
fn programs_have_the_umask_that_they_have_there() {
    for (name, options, umask) in [
        ("inetutils-inetd", &["-d"][..], "0077"),
        ("xinetd", &["-dontfork"], "0077"),
        ("openbsd-inetd", &["-d"], "0022"),
    ] {
        let port = free_port();
        let text = match name {
            "xinetd" => format!(
                "service u\n{{\ntype = UNLISTED\nport = {port}\nsocket_type = stream\nwait = no\n\
                 user = {}\nserver = /bin/sh\nserver_args = -c umask\n}}\n",
                nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
            ),
            _ => tcp_line(port, &shell("umask")),
        };
        let folder = Folder::new();
        let file = folder.write("conf", &text).display().to_string();
        let file = if name == "xinetd" { vec!["-f", &file] } else { vec![file.as_str()] };
        let words = [options, &file].concat();
        let _daemon = Setup::new().named(name).after("umask 077").run_in(folder, &words);
        assert_eq!(read_all(tcp(port)), format!("{umask}\n"), "{name}");
    }
}

/// A reload may bring something, as there.
#[test]
fn one_whose_file_is_wrong_altogether_waits_for_a_better_one() {
    for (name, options) in
        [("inetutils-inetd", "-d"), ("openbsd-inetd", "-d"), ("xinetd", "-dontfork")]
    {
        let port = free_port();
        let folder = Folder::new();
        let wrong = if name == "xinetd" { "service x\n{\nwait = maybe\n}\n" } else { "x y\n" };
        let file = folder.write("conf", wrong);
        let path = file.display().to_string();
        let words =
            if name == "xinetd" { vec![options, "-f", &path] } else { vec![options, &path] };
        let daemon = Setup::new().named(name).run_in(folder, &words);
        std::fs::write(&file, tcp_line(port, "/bin/echo echo better")).unwrap();
        daemon.signal(Signal::SIGHUP);
        let _ = daemon.wait_log(|line| line.is("reloaded"));
        assert_eq!(read_all(tcp(port)), "better\n", "{name}");
    }
}

/// Below a comment or an empty line, and in GNU's everywhere.
#[test]
fn an_indented_line_may_be_an_entry() {
    for (name, is_gnus) in [("inetutils-inetd", true), ("openbsd-inetd", false)] {
        let ports = free_ports(4);
        let line = |index: usize| tcp_line(ports[index], &format!("/bin/echo echo {index}"));
        let text = format!("  {}# a comment\n  {}\n\t{}\t{}", line(0), line(1), line(2), line(3));
        let folder = Folder::new();
        let file = folder.write("conf", &text).display().to_string();
        let _daemon = Setup::new().named(name).run_in(folder, &["-d", &file]);
        assert_eq!(read_all(tcp(ports[0])), "0\n", "{name}");
        assert_eq!(read_all(tcp(ports[1])), "1\n", "{name}");
        let (last, added) = (read_all(tcp(ports[2])), format!("2 {}", line(3)));
        let added = added.replace(" -\t", " - ");
        if is_gnus {
            assert_eq!((last.as_str(), read_all(tcp(ports[3])).as_str()), ("2\n", "3\n"));
        } else {
            assert_eq!(last, added);
        }
    }
}
