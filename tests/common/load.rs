//! Connections in the background, as long as the value lives.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use super::wait::{DEADLINE, wait_until};

/// A stream of short connections, one after the other, each read to its end.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU32>,
    worker: JoinHandle<Vec<String>>,
}

impl Load {
    /// Connects to 127.0.0.1:`port` again and again; every answer must be `expected`.
    pub(crate) fn start(port: u16, expected: &'static str) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&served));
        let worker = thread::spawn(move || {
            let mut faults = Vec::new();
            while !stopping.load(Ordering::Relaxed) && faults.len() < 20 {
                match one(port) {
                    Ok(text) if text == expected => {
                        counting.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(text) => faults.push(format!("answer {text:?}")),
                    Err(error) => faults.push(error.to_string()),
                }
            }
            faults
        });
        Self { stop, served, worker }
    }

    /// How many connections have been served so far.
    pub(crate) fn served(&self) -> u32 {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until `more` connections have been served from now on.
    #[track_caller]
    pub(crate) fn wait_more(&self, more: u32) {
        let goal = self.served() + more;
        wait_until("the background connections to go on", || {
            self.served() >= goal || self.worker.is_finished()
        });
    }

    /// Stops and gives the number served.
    ///
    /// # Panics
    /// If a single one was refused or got a wrong answer.
    #[track_caller]
    pub(crate) fn finish(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        let faults = self.worker.join().unwrap();
        assert!(faults.is_empty(), "connections failed: {faults:?}");
        self.served.load(Ordering::Relaxed)
    }
}

fn one(port: u16) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
