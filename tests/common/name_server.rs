//! A name server that says nothing until it is told what to say, and a machine of one's own
//! that asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Folder, need_program, need_root, wait_until};

/// A name server at an address of the loopback network. It goes with the test.
pub(crate) struct NameServer(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// What it says of a name: nothing of one that is not here.
    answers: BTreeMap<String, Ipv4Addr>,
    asked: BTreeSet<String>,
    /// What it says as soon as so many names have been asked for.
    then: Option<(usize, BTreeMap<String, Ipv4Addr>)>,
}

impl NameServer {
    /// Starts a silent one, and the words that run a program which asks it. None where there
    /// cannot be one.
    #[track_caller]
    pub(crate) fn start(folder: &Folder) -> Option<(Self, Vec<String>)> {
        if !need_root() || !need_program("unshare") {
            return None;
        }
        let (socket, address) = socket();
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        thread::spawn(move || {
            let mut bytes = [0; 2048];
            let mut unanswered: Vec<(Vec<u8>, SocketAddr)> = Vec::new();
            while let Ok((count, from)) = socket.recv_from(&mut bytes) {
                unanswered.push((bytes[..count].to_vec(), from));
                let mut known = shared.lock().unwrap();
                // One question may be what others have waited for; who is told late what he
                // has asked long ago does not listen any more.
                let _ = answer(&bytes[..count], &mut known);
                unanswered.retain(|(question, from)| match answer(question, &mut known) {
                    Some(answer) => socket.send_to(&answer, *from).is_err(),
                    None => known.then.is_some(),
                });
            }
        });
        // Who is not answered asks again after a second, for the tests' sake.
        let text = format!("nameserver {address}\noptions timeout:1 attempts:1\n");
        let resolver = folder.write("resolv.conf", &text);
        let switch = folder.write("nsswitch", "passwd: files\ngroup: files\nhosts: files dns\n");
        let script = format!(
            "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && exec \"$@\"",
            resolver.display(),
            switch.display()
        );
        let words = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned);
        Some((Self(known), words.to_vec()))
    }

    /// From here on it says this of these names, and of no other.
    pub(crate) fn say(&self, names: &[(&str, Ipv4Addr)]) {
        let names = names.iter().map(|(name, address)| ((*name).to_owned(), *address));
        self.0.lock().unwrap().answers = names.collect();
    }

    /// It will say this of them once it has been asked for all of them.
    pub(crate) fn say_when_all_are_asked(&self, names: &[(&str, Ipv4Addr)]) {
        let names: BTreeMap<_, _> =
            names.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect();
        self.0.lock().unwrap().then = Some((names.len(), names));
    }

    /// Waits until somebody has asked for this.
    #[track_caller]
    pub(crate) fn wait_asked(&self, name: &str) {
        wait_until("the question", || self.0.lock().unwrap().asked.contains(name));
    }
}

/// Port 53 of an address that nobody else has.
#[track_caller]
fn socket() -> (UdpSocket, Ipv4Addr) {
    let pid = std::process::id();
    let candidates = (1..=250).map(|n| Ipv4Addr::new(127, 53, (pid % 250) as u8, n));
    let mut sockets = candidates.filter_map(|ip| Some((UdpSocket::bind((ip, 53)).ok()?, ip)));
    sockets.next().expect("an address for a name server")
}

/// The answer to a question (RFC 1035), if there is one.
fn answer(question: &[u8], known: &mut Known) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).into_owned());
        at += length + 1;
    }
    let name = labels.join(".");
    known.asked.insert(name.clone());
    if let Some((count, names)) = known.then.take() {
        let asked = names.keys().filter(|name| known.asked.contains(*name)).count();
        match asked == count {
            true => known.answers = names,
            false => known.then = Some((count, names)),
        }
    }
    let address = known.answers.get(&name)?;
    let wants_v4 = question[at + 1..at + 3] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(wants_v4), 0, 0, 0, 0]);
    answer.extend(&question[12..at + 5]);
    if wants_v4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
