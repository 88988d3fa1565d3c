//! Networks of machines of their own, joined by cables: network namespaces. Root's only.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns};

use super::needs::{need_program, need_root, search_path, skip};
use super::wait::wait_until;

/// The network of a machine; gone with the value.
pub(crate) struct Net {
    /// Somebody has to be in it.
    holder: Child,
}

/// False, and a skip, where none can be made.
#[track_caller]
pub(crate) fn need_nets() -> bool {
    if !need_root() || !["unshare", "nsenter", "ip"].into_iter().all(need_program) {
        return false;
    }
    let (one, other) = (Net::new(), Net::new());
    one.cable(&other, "10.255.255") || skip("needs veth devices")
}

impl Net {
    /// One with a loopback alone.
    pub(crate) fn new() -> Self {
        let mut unshare = Command::new("unshare");
        unshare.env("PATH", search_path()).args(["--net", "cat"]);
        let holder = unshare.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let net = Self { holder };
        wait_until("a network of its own", || {
            fs::read_link(net.path()).is_ok_and(|theirs| theirs != own)
        });
        assert!(net.ip(&["link", "set", "lo", "up"]));
        net
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// The words that start a program in it.
    pub(crate) fn enter(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", self.path())]
    }

    /// Whether `ip WORDS` has worked in it.
    pub(crate) fn ip(&self, words: &[&str]) -> bool {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        command.env("PATH", search_path()).args(&enter[1..]).arg("ip").args(words);
        command.output().unwrap().status.success()
    }

    /// A cable to another: this one is `PREFIX.1`, the other `PREFIX.2`.
    pub(crate) fn cable(&self, other: &Self, prefix: &str) -> bool {
        let name = format!("to{}", other.holder.id());
        let id = other.holder.id().to_string();
        let link = ["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &id];
        let addresses = [1, 2].map(|host| format!("{prefix}.{host}/24"));
        self.ip(&link)
            && self.ip(&["address", "add", &addresses[0], "dev", &name])
            && self.ip(&["link", "set", &name, "up"])
            && other.ip(&["address", "add", &addresses[1], "dev", "eth0"])
            && other.ip(&["link", "set", "eth0", "up"])
    }

    /// Does something in it. Threads that are begun there stay there.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(self.path()).unwrap();
        let entered = move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
