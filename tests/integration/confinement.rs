//! Programs that try to break out of what their service confines them to: paths
//! (Landlock) and capabilities. Each with children that share the server's memory until
//! exec, where it has few descriptors and where it has many, with plain fork, and apart.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use oxinetd::config::Lookup;
use oxinetd::config::lookup::System;

use crate::common::daemon::BINARY;
use crate::common::needs::kernel_lacks;
use crate::common::procs;
use crate::common::{
    Daemon, Folder, Setup, free_port, need_program, need_root, own_line, read_all, shell, tcp,
};

fn every_way() -> [Setup; 4] {
    let way = |way| Setup::new().arg("--spawn").arg(way);
    [Setup::new(), Setup::new().among(150), way("fork"), way("apart")]
}

/// False, and a loud skip, where the kernel cannot confine programs to paths.
#[track_caller]
fn need_landlock() -> bool {
    System::new().has_landlock() || kernel_lacks("Landlock as of Linux 6.2")
}

/// What every program needs to run at all.
fn system() -> String {
    let all = ["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"];
    all.into_iter().filter(|path| Path::new(path).exists()).collect::<Vec<_>>().join(" ")
}

/// What a shell script says, errors included, as a service with these attributes.
#[track_caller]
fn said_by(setup: &Setup, script: &str, attributes: &str) -> String {
    said_by_user(setup, crate::common::me(), script, attributes)
}

#[track_caller]
fn said_by_user(setup: &Setup, user: &str, script: &str, attributes: &str) -> String {
    let port = free_port();
    let line = format!("127.0.0.1:{port} stream tcp nowait {user} {}\n", shell(script));
    let _daemon = setup.clone().start(&format!("{line}    stderr = socket\n{attributes}"));
    read_all(tcp(port))
}

/// A field of the status of a process, its words.
fn status_field(status: &str, name: &str) -> String {
    let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

fn capability_set(status: &str, name: &str) -> u64 {
    u64::from_str_radix(&status_field(status, name), 16).unwrap()
}

#[test]
fn nothing_outside_the_paths_can_be_read() {
    if !need_landlock() {
        return;
    }
    for setup in every_way() {
        let folder = Folder::new();
        let inside = folder.write("inside/open", "open\n");
        let secret = folder.write("outside/secret", "treasure\n");
        symlink(&secret, folder.at("inside/link")).unwrap();
        let inside = inside.parent().unwrap().display().to_string();
        let script = format!(
            "cat {inside}/open; cat {0}; cat {inside}/link; cat {inside}/../outside/secret; ls {1}; \
             cat /etc/passwd; cat < {0}",
            secret.display(),
            folder.path().display(),
        );
        let said = said_by(&setup, &script, &format!("    read_only = {} {inside}\n", system()));
        assert!(said.starts_with("open\n"), "{said}");
        assert!(!said.contains("treasure") && !said.contains("root:"), "{said}");
        assert_eq!(said.matches("ermission denied").count(), 6, "{said}");
    }
}

#[test]
fn nothing_outside_the_writable_paths_can_be_changed() {
    if !need_landlock() {
        return;
    }
    for setup in every_way() {
        let folder = Folder::new();
        let open = folder.open_folder("open");
        let closed = folder.open_folder("closed");
        let kept = folder.write("closed/kept", "kept\n");
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o666)).unwrap();
        symlink(&kept, open.join("link")).unwrap();
        let (open_name, closed_name) = (open.display(), closed.display());
        let attempts = [
            format!("echo x > {closed_name}/new"),
            format!("echo x >> {closed_name}/kept"),
            format!(": > {closed_name}/kept"),
            format!("truncate -s 0 {closed_name}/kept"),
            format!("echo x > {open_name}/link"),
            format!("rm {closed_name}/kept"),
            format!("mkdir {closed_name}/new"),
            format!("mv {closed_name}/kept {open_name}/"),
            format!("ln {closed_name}/kept {open_name}/hard"),
            format!("ln -s x {closed_name}/new"),
            format!("mknod {closed_name}/new p"),
        ];
        let mut script = format!("echo y > {open_name}/new && cat {open_name}/new\n");
        for attempt in &attempts {
            script.push_str(&format!("( {attempt} ) 2>/dev/null && echo broke out: {attempt}\n"));
        }
        let script = script.replace('\n', "; ");
        let attributes = format!(
            "    read_only = {} {closed_name}\n    read_write = {open_name} /dev/null\n",
            system()
        );
        assert_eq!(said_by(&setup, &script, &attributes), "y\n");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept\n");
        assert_eq!(fs::read_dir(&closed).unwrap().count(), 1);
    }
}

#[test]
fn a_set_user_id_program_does_not_lead_out_of_the_paths() {
    if !need_root() || !need_landlock() {
        return;
    }
    for setup in every_way() {
        let folder = Folder::new();
        let cat = folder.copy_of("/bin/cat", "cat");
        fs::set_permissions(&cat, fs::Permissions::from_mode(0o4755)).unwrap();
        let secret = folder.write("secret", "treasure\n");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let script = format!("{cat} {0}; {cat} {0}", secret.display());
        let attributes = format!("    read_only = {} {cat} {}\n", system(), secret.display());
        // The path is open, the file's mode is not, and set-user-ID gives nothing.
        let said = said_by_user(&setup, "nobody", &script, &attributes);
        assert_eq!(said.matches("ermission denied").count(), 2, "{said}");
    }
}

#[test]
fn a_program_outside_its_paths_does_not_start_and_the_load_says_so() {
    if !need_landlock() {
        return;
    }
    for setup in every_way() {
        let folder = Folder::new();
        let port = free_port();
        let line = own_line(port, "/bin/cat cat /etc/passwd");
        let paths = folder.path().display();
        let daemon = setup.start(&format!("{line}    read_only = {paths}\n"));
        daemon.wait_log(|line| line.is("configuration") && line.raw.contains("it will not start"));
        assert_eq!(read_all(tcp(port)), "");
        let failed = daemon.wait_log(|line| line.is("failed"));
        assert_eq!(failed.get("stage"), Some("exec"), "{}", failed.raw);
    }
}

fn needed_by_cat() -> Vec<String> {
    let libraries = procs::libraries(Path::new("/bin/cat"));
    libraries.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
}

#[test]
fn inside_a_root_directory_the_paths_are_those_of_the_program() {
    if !need_root() || !need_landlock() {
        return;
    }
    for setup in every_way() {
        let folder = Folder::new();
        folder.open_folder("bin");
        folder.copy_of("/bin/cat", "bin/cat");
        let libraries = needed_by_cat();
        for library in &libraries {
            let inside = library.trim_start_matches('/');
            fs::create_dir_all(folder.at(inside).parent().unwrap()).unwrap();
            folder.copy_of(library, inside);
        }
        folder.write("open/file", "open\n");
        folder.write("closed/file", "closed\n");
        // An absolute link is resolved inside, not in the server's own root.
        symlink("/open", folder.at("link")).unwrap();
        let port = free_port();
        let line = format!(
            "127.0.0.1:{port} stream tcp nowait root /bin/cat cat /open/file /closed/file\n"
        );
        let attributes = format!(
            "    chroot = {}\n    stderr = socket\n    read_only = /bin /link {}\n",
            folder.path().display(),
            libraries.join(" ")
        );
        let _daemon = setup.start(&(line + &attributes));
        let said = read_all(tcp(port));
        assert!(said.starts_with("open\n") && !said.contains("closed\n"), "{said}");
        assert!(said.contains("ermission denied"), "{said}");
    }
}

#[test]
fn confined_connections_leave_no_descriptor_behind() {
    if !need_landlock() {
        return;
    }
    for setup in every_way() {
        let port = free_port();
        let line = own_line(port, "/bin/ls ls /proc/self/fd");
        let daemon = setup.start(&format!("{line}    read_only = {} /proc\n", system()));
        let open = || procs::descriptors(daemon.pid());
        let first = read_all(tcp(port));
        // The fourth is the listing's own.
        assert_eq!(first, "0\n1\n2\n3\n");
        daemon.wait_childless();
        let before = open();
        for _ in 0..30 {
            assert_eq!(read_all(tcp(port)), first);
        }
        daemon.wait_childless();
        crate::common::wait_until("the descriptors to be as many as before", || open() <= before);
    }
}

#[test]
fn the_bounding_set_is_what_the_attribute_says() {
    if !need_root() {
        return;
    }
    let own = capability_set(&fs::read_to_string("/proc/self/status").unwrap(), "CapBnd");
    let chown_and_bind = 1 | 1 << 10;
    for setup in every_way() {
        for (attribute, wanted) in [
            ("", own),
            ("    capabilities = all\n", own),
            ("    capabilities = none\n", 0),
            ("    capabilities = CAP_CHOWN net_bind_service\n", own & chown_and_bind),
            ("    capabilities -= CAP_CHOWN\n", own & !1),
        ] {
            let port = free_port();
            let line = own_line(port, "/bin/cat cat /proc/self/status");
            let _daemon = setup.clone().start(&(line + attribute));
            let status = read_all(tcp(port));
            for set in ["CapBnd", "CapPrm", "CapEff"] {
                assert_eq!(capability_set(&status, set), wanted, "{attribute}{status}");
            }
            for set in ["CapInh", "CapAmb"] {
                assert_eq!(capability_set(&status, set), 0, "{attribute}{status}");
            }
        }
    }
}

#[test]
fn what_a_root_service_has_given_up_it_cannot_do() {
    if !need_root() {
        return;
    }
    for setup in every_way() {
        for (attribute, wanted) in
            [("capabilities = CAP_CHOWN", "1\n"), ("capabilities -= CAP_CHOWN", "0\n")]
        {
            let folder = Folder::new();
            let file = folder.write("file", "x\n");
            let script = format!("chown 1 {0} 2>/dev/null; stat -c %u {0}", file.display());
            assert_eq!(said_by(&setup, &script, &format!("    {attribute}\n")), wanted);
        }
    }
}

#[test]
fn a_set_user_id_program_does_not_bring_capabilities_back() {
    if !need_root() {
        return;
    }
    for setup in every_way() {
        let folder = Folder::new();
        let file = folder.write("file", "x\n");
        let chown = folder.copy_of("/bin/chown", "chown");
        fs::set_permissions(&chown, fs::Permissions::from_mode(0o4755)).unwrap();
        let script = format!("{chown} 1 {0} 2>/dev/null; stat -c %u {0}", file.display());
        let attributes = "    capabilities = none\n";
        assert_eq!(said_by_user(&setup, "nobody", &script, attributes), "0\n");
        assert_eq!(said_by_user(&setup, "nobody", &script, ""), "1\n");
    }
}

#[test]
fn inheritable_and_ambient_capabilities_of_the_server_are_given_up_too() {
    if !need_root() || !need_program("setpriv") {
        return;
    }
    for setup in every_way() {
        let setup = setup.under(&["setpriv", "--inh-caps", "+chown", "--ambient-caps", "+chown"]);
        for (attribute, wanted) in [("", 1), ("    capabilities = none\n", 0)] {
            let port = free_port();
            let line = own_line(port, "/bin/cat cat /proc/self/status");
            let _daemon = setup.clone().start(&(line + attribute));
            let status = read_all(tcp(port));
            assert_eq!(capability_set(&status, "CapInh"), wanted, "{status}");
            assert_eq!(capability_set(&status, "CapAmb"), wanted, "{status}");
        }
    }
}

#[test]
fn capabilities_that_cannot_be_dropped_keep_the_program_from_starting() {
    if !need_root() || !need_program("setpriv") {
        return;
    }
    for setup in every_way() {
        let setup = setup.under(&["setpriv", "--bounding-set", "-setpcap"]);
        let port = free_port();
        let line = own_line(port, "/bin/echo echo started");
        let daemon = setup.start(&format!("{line}    capabilities = none\n"));
        assert_eq!(read_all(tcp(port)), "");
        let failed = daemon.wait_log(|line| line.is("failed"));
        assert_eq!(failed.get("stage"), Some("capabilities"), "{}", failed.raw);
    }
}

/// What a program of `nobody` is given by a server that passes something on.
#[track_caller]
fn given(setup: Setup, user: &str, attribute: &str) -> [u64; 3] {
    let port = free_port();
    let line =
        format!("127.0.0.1:{port} stream tcp nowait {user} /bin/cat cat /proc/self/status\n");
    let folder = Folder::new();
    let copy = folder.copy_of(BINARY, "oxinetd");
    let _daemon = setup.program(&copy).start_in(folder, &(line + attribute));
    let status = read_all(tcp(port));
    ["CapInh", "CapAmb", "CapEff"].map(|set| capability_set(&status, set))
}

const BIND: u64 = 1 << 10;

/// `SECBIT_NO_SETUID_FIXUP` keeps the kernel from taking anything away at setresuid(2).
#[test]
fn what_root_passes_on_is_not_passed_on_to_others() {
    if !need_root() || !need_program("setpriv") {
        return;
    }
    let words = "setpriv --securebits +no_setuid_fixup --inh-caps +net_bind_service \
                 --ambient-caps +net_bind_service";
    let words: Vec<&str> = words.split_whitespace().collect();
    for setup in every_way() {
        let given = |attribute| given(setup.clone().under(&words), "nobody", attribute);
        assert_eq!(given(""), [0, 0, 0]);
        assert_eq!(given("    capabilities = none\n"), [0, 0, 0]);
        assert_eq!(given("    capabilities = net_bind_service\n"), [BIND, BIND, BIND]);
    }
}

/// As with `User=` and `AmbientCapabilities=` of systemd.
#[test]
fn a_server_that_is_not_root_has_its_capabilities_for_itself() {
    if !need_root() || !need_program("setpriv") {
        return;
    }
    let ids = "setpriv --reuid=nobody --regid=nogroup --clear-groups";
    let words = format!(
        "{ids} --inh-caps +net_bind_service,+chown --ambient-caps +net_bind_service,+chown"
    );
    let words: Vec<&str> = words.split_whitespace().collect();
    for way in ["auto", "fork"] {
        let setup = Setup::new().under(&words).arg("--spawn").arg(way);
        let given = |attribute| given(setup.clone(), "-", attribute);
        assert_eq!(given(""), [0, 0, 0]);
        assert_eq!(given("    capabilities = none\n"), [0, 0, 0]);
        assert_eq!(given("    capabilities = net_bind_service\n"), [BIND, BIND, BIND]);
    }
}

/// The promise that nothing comes back is kept without the right to lower the bounding set.
#[test]
fn without_root_a_set_user_id_program_does_not_bring_capabilities_back_either() {
    if !need_root() || !need_program("setpriv") {
        return;
    }
    let words = "setpriv --reuid=nobody --regid=nogroup --clear-groups";
    let words: Vec<&str> = words.split_whitespace().collect();
    let folder = Folder::new();
    let cat = folder.copy_of("/bin/cat", "cat");
    fs::set_permissions(&cat, fs::Permissions::from_mode(0o4755)).unwrap();
    let said = |attribute: &str| {
        let (port, own) = (free_port(), Folder::new());
        let program = own.copy_of(BINARY, "oxinetd");
        let line = format!("127.0.0.1:{port} stream tcp nowait - {cat} cat /proc/self/status\n");
        let setup = Setup::new().under(&words).program(&program);
        let _daemon = setup.start_in(own, &(line + attribute));
        capability_set(&read_all(tcp(port)), "CapEff")
    };
    assert_ne!(said(""), 0);
    assert_eq!(said("    capabilities = none\n"), 0);
}

#[test]
fn what_cannot_be_confined_is_not_served_unless_the_list_says_that_it_may() {
    let port = free_port();
    let line = own_line(port, "/bin/echo echo started");
    let missing = "    read_only = /no/such/path /usr\n";
    let other = own_line(free_port(), "/bin/cat cat");
    let daemon = Daemon::start(&format!("{line}{missing}{other}"));
    daemon.wait_log(|line| line.is("configuration") && line.raw.contains("not served"));
    if System::new().has_landlock() {
        return;
    }
    for (mark, served) in [("", false), ("? ", true)] {
        let port = free_port();
        let line = own_line(port, "/bin/echo echo started");
        let text = format!("{line}    read_only = {mark}{}\n{other}", system());
        let _daemon = Daemon::start(&text);
        let address = (std::net::Ipv4Addr::LOCALHOST, port).into();
        let client = crate::common::clients::try_tcp(address);
        assert_eq!(client.is_ok(), served, "{mark}");
        if let Ok(client) = client {
            assert_eq!(read_all(client), "started\n");
        }
    }
}
