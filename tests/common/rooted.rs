//! A machine of its own for a server: a root folder with the accounts, services, hosts and
//! programs that a configuration wants, and a network in which all ports are free. There a
//! published file is served as it is.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};

use super::daemon::as_pid;
use super::needs::search_path;
use super::wait::wait_for;
use super::{Folder, procs};

/// Addresses of its loopback device besides the usual ones.
pub(crate) const ADDRESSES: [&str; 3] = ["10.0.0.1/8", "192.168.1.10/24", "fd00::1/64"];

/// Where the server is in it.
pub(crate) struct Root {
    folder: Folder,
    /// The program, at the place where the server's package would put it.
    place: &'static str,
    /// The file that is there.
    program: PathBuf,
}

impl Root {
    /// A root in which `program` is at `place`.
    pub(crate) fn new(program: &Path, place: &'static str) -> Self {
        let folder = Folder::new();
        for name in ["proc", "dev", "run", "var/log", "var/run", "root", "home", "usr/sbin"] {
            fs::create_dir_all(folder.at(name)).unwrap();
        }
        for name in ["tmp", "var/tmp"] {
            let _ = folder.open_folder(name);
        }
        folder.write("dev/null", "");
        for library in procs::libraries(program) {
            let to = folder.at(library.to_str().unwrap().trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            if !to.exists() {
                fs::copy(&library, to).unwrap();
            }
        }
        folder.write(place.trim_start_matches('/'), "");
        Self { folder, place, program: program.to_owned() }
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let to = self.at(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, bytes).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// A path in it, seen from outside.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.at(path.trim_start_matches('/'))
    }

    /// Puts the reporter where a program is expected, unless something is there.
    pub(crate) fn put_program(&self, path: &str) {
        let to = self.at(path);
        if path.contains("/../") || to.exists() || fs::create_dir_all(to.parent().unwrap()).is_err()
        {
            return;
        }
        // Another file system has no links to it.
        if fs::hard_link(reporter(), &to).is_err() {
            fs::copy(reporter(), &to).unwrap();
        }
    }

    /// The command that runs words in it, with a network of its own.
    fn entering(&self, words: &str) -> Command {
        let root = self.folder.path().display();
        let addresses: String = ADDRESSES
            .iter()
            .map(|one| {
                let nodad = if one.contains(':') { "nodad" } else { "" };
                format!("ip addr add {one} dev lo {nodad};")
            })
            .collect();
        let script = format!(
            "ip link set lo up; {addresses} mount -t proc proc {root}/proc &&
             mount --bind /dev/null {root}/dev/null &&
             mount --bind {} {root}{} || exit 9; cd /;
             {words}",
            self.program.display(),
            self.place
        );
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", &script])
            .env_clear()
            .env("PATH", search_path())
            .stdin(Stdio::null());
        command
    }

    /// What a program in it prints, and whether it succeeds.
    pub(crate) fn run(&self, arguments: &str) -> (bool, String, String) {
        let words = format!(
            "exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot {} {} {arguments}",
            self.folder.path().display(),
            self.place
        );
        let output = self.entering(&words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// Starts the server with these arguments; what it says is in `said`.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        for left in ["run/xinetd.pid", "run/inetd.pid", "var/run/inetd.pid"] {
            let _ = fs::remove_file(self.at(left));
        }
        // The shell is the first process there, as init would be.
        let words = format!(
            "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root FOO=bar LANG=C chroot {} {} {arguments} & wait",
            self.folder.path().display(),
            self.place
        );
        let said = self.folder.at("said");
        let log = File::create(&said).unwrap();
        let mut command = self.entering(&words);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let name = Path::new(self.place).file_name().unwrap().to_str().unwrap().to_owned();
        let mut running = Running { child, pid: 0, said };
        running.pid = wait_for(&format!("{name} to run"), || running.server(&name));
        running
    }
}

/// A server that runs in a root, ended when the value is dropped.
pub(crate) struct Running {
    child: Child,
    pid: u32,
    said: PathBuf,
}

impl Running {
    fn server(&mut self, name: &str) -> Option<u32> {
        assert!(self.child.try_wait().unwrap().is_none(), "it has ended: {}", self.said());
        let shell = procs::children(self.child.id()).first().copied()?;
        let candidates = procs::children(shell);
        candidates.into_iter().find(|pid| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.starts_with(comm.trim()) && !comm.trim().is_empty()
        })
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it to read its configuration again.
    pub(crate) fn reload(&self) {
        kill(as_pid(self.pid), Signal::SIGHUP).unwrap();
    }

    /// Does something in its network.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.pid)).unwrap();
        let entered = move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the server said:\n{}", self.said());
        }
        // --kill-child takes everything inside along.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program in the place of all programs, built once for all.
fn reporter() -> &'static Path {
    static REPORTER: OnceLock<PathBuf> = OnceLock::new();
    REPORTER.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/reporter.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (program, fresh) =
            (folder.join("reporter"), folder.join(format!("reporter.{}", std::process::id())));
        let mut building = Command::new("cc");
        building.args(["-static", "-O1", "-o"]).arg(&fresh).arg(source);
        assert!(building.status().unwrap().success());
        fs::rename(&fresh, &program).unwrap();
        program
    })
}
