//! The ceiling: the least that a server can do for a connection on this kernel,
//! which no server gets above without doing two things at once. Accept, clone
//! sharing memory until exec, two dup2, execve, wait; no log, no limits, nothing
//! looked at. With as many listeners and the same credentials for the program as the
//! server it is compared with: a session and a user, or neither.
//!
//! Beside it stands one that gives each program the environment, too, which oxinetd
//! promises. What lies between the two no server could save.

#![allow(unsafe_code, reason = "clone and exec are the thing that is measured")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::Result;

/// Bytes of the child's stack.
const STACK: usize = 64 * 1024;

/// What a ceiling gives to its programs beside the user, each as a word: nothing, a session
/// of its own (setsid(2)), or that and an environment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gift {
    Nothing,
    Session,
    Environment,
}

impl Gift {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Session => "session",
            Self::Environment => "environment",
        }
    }

    fn from_word(word: &str) -> Result<Self> {
        let all = [Self::Nothing, Self::Session, Self::Environment];
        let found = all.into_iter().find(|gift| gift.word() == word);
        found.ok_or_else(|| format!("unknown gift {word}").into())
    }
}

/// What is promised, as long as it usually is.
const ENVIRONMENT: [&CStr; 13] = [
    c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    c"HOME=/nonexistent",
    c"USER=nobody",
    c"LOGNAME=nobody",
    c"SHELL=/usr/sbin/nologin",
    c"PROTO=TCP",
    c"TCPLOCALIP=127.0.0.1",
    c"TCPLOCALPORT=10000",
    c"TCPREMOTEIP=127.0.0.1",
    c"REMOTE_ADDR=127.0.0.1",
    c"REMOTE_HOST=127.0.0.1",
    c"TCPREMOTEPORT=50000",
    c"REMOTE_PORT=50000",
];

/// `PORT,PORT… USER|- GIFT PROGRAM ARGV…`
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let [ports, user, gift, program, arguments @ ..] = words else {
        return Err("__ceiling PORTS USER GIFT PROGRAM ARGV".into());
    };
    let listen = |port: &str| -> Result<TcpListener> {
        Ok(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))?)
    };
    let listeners = ports.split(',').map(listen).collect::<Result<Vec<_>>>()?;
    for listener in &listeners {
        // std's backlog is 128.
        nix::sys::socket::listen(listener, nix::sys::socket::Backlog::new(4096)?)?;
    }
    let mut job = Job::new(user, Gift::from_word(gift)?, program, arguments)?;
    match listeners.as_slice() {
        [one] => loop {
            let (connection, _) = one.accept()?;
            job.start(connection.as_raw_fd())?;
            drop(connection);
            reap();
        },
        many => serve_many(many, &mut job),
    }
}

fn serve_many(listeners: &[TcpListener], job: &mut Job) -> Result<()> {
    let mut poll = Poll::new()?;
    for (at, listener) in listeners.iter().enumerate() {
        listener.set_nonblocking(true)?;
        poll.registry().register(
            &mut SourceFd(&listener.as_raw_fd()),
            Token(at),
            Interest::READABLE,
        )?;
    }
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            while let Ok((connection, _)) = listeners[event.token().0].accept() {
                job.start(connection.as_raw_fd())?;
                drop(connection);
                reap();
            }
        }
    }
}

fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// What the child needs, all made before it exists.
struct Job {
    connection: RawFd,
    path: CString,
    _arguments: Vec<CString>,
    pointers: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    session: bool,
    ids: Option<(u32, u32)>,
    stack: Vec<u8>,
}

impl Job {
    fn new(user: &str, gift: Gift, program: &str, arguments: &[&str]) -> Result<Self> {
        let arguments = arguments
            .iter()
            .map(|word| CString::new(*word))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*const c_char> = arguments.iter().map(|word| word.as_ptr()).collect();
        pointers.push(ptr::null());
        let promised = if gift == Gift::Environment { ENVIRONMENT.as_slice() } else { &[] };
        let end = std::iter::once(ptr::null());
        let ids = match user {
            "-" => None,
            name => {
                let user = nix::unistd::User::from_name(name)?.ok_or("no such user")?;
                Some((user.uid.as_raw(), user.gid.as_raw()))
            }
        };
        Ok(Self {
            connection: -1,
            path: CString::new(program)?,
            _arguments: arguments,
            pointers,
            environment: promised.iter().map(|it| it.as_ptr()).chain(end).collect(),
            session: gift != Gift::Nothing,
            ids,
            stack: vec![0; STACK],
        })
    }

    fn start(&mut self, connection: RawFd) -> io::Result<()> {
        self.connection = connection;
        // SAFETY: one past the end of the stack's allocation; the ABI wants 16.
        let top = unsafe { self.stack.as_mut_ptr().add(STACK) };
        let top = top.wrapping_sub(top.addr() % 16);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: with CLONE_VFORK this thread, the only one, stands still until the
        // child has exec'd or exited; so the job, which the child reads, and the
        // stack, which nobody else uses, stay as they are.
        let pid = unsafe { libc::clone(child, top.cast(), flags, ptr::from_mut(self).cast()) };
        if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

extern "C" fn child(job: *mut c_void) -> c_int {
    // SAFETY: `start` passes a job that outlives the child's use of it.
    let job = unsafe { &*job.cast::<Job>() };
    // SAFETY: system calls only, on numbers and on memory of the job. The raw ones for
    // the ids, as glibc's change every thread and take locks. errno is shared with the
    // parent, which stands still and does not look at it afterwards.
    unsafe {
        if job.session {
            libc::setsid();
        }
        if let Some((uid, gid)) = job.ids
            && (libc::syscall(libc::SYS_setgroups, 1usize, &raw const gid) != 0
                || libc::syscall(libc::SYS_setresgid, gid, gid, gid) != 0
                || libc::syscall(libc::SYS_setresuid, uid, uid, uid) != 0)
        {
            libc::_exit(126);
        }
        libc::dup2(job.connection, 0);
        libc::dup2(job.connection, 1);
        libc::execve(job.path.as_ptr(), job.pointers.as_ptr(), job.environment.as_ptr());
        libc::_exit(127)
    }
}
