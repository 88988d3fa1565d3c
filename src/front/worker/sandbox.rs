//! Giving up everything that a worker does not need. It is a user that nobody else is, without
//! capabilities, before it begins; here it gives up files, names, other processes, and all
//! system calls but those with which descriptors that it is sent are read, written and
//! closed. What an old kernel lacks of that is left out; what it has is taken.

use std::io;

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    Scope,
};
use nix::libc;
use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::sys::tcp::SIOCATMARK;

/// There is no way back.
///
/// # Errors
/// What the system did not do that every system does.
pub(super) fn enter() -> io::Result<()> {
    set_dumpable(false)?;
    set_no_new_privs()?;
    limit()?;
    leave_files();
    keep_few_calls()
}

/// As many descriptors as we may have; no core file, no other file, no process.
fn limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    for nothing in [Resource::RLIMIT_CORE, Resource::RLIMIT_FSIZE, Resource::RLIMIT_NPROC] {
        setrlimit(nothing, 0, 0)?;
    }
    Ok(())
}

/// No file, no port, nobody else's abstract sockets and processes (Landlock).
fn leave_files() {
    let newest = ABI::V6;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(newest)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(newest)))
        .and_then(|ruleset| ruleset.create());
    let _ = ruleset.and_then(|ruleset| ruleset.restrict_self());
}

/// The calls that are left, without conditions.
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_close,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_timer_settime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Any other call fails with EPERM. A filter cannot be had on every machine (seccomp(2) may
/// not be there, or the machine be of another kind): then the rest has to do.
fn keep_few_calls() -> io::Result<()> {
    let Ok(arch) = std::env::consts::ARCH.try_into() else { return Ok(()) };
    let mut rules: Vec<(i64, Vec<SeccompRule>)> =
        CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let no_code = u64::try_from(libc::PROT_EXEC).unwrap_or_default();
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.push((call, vec![rule(&[(2, SeccompCmpOp::MaskedEq(no_code), 0)])?]));
    }
    // What becomes of the window of a terminal, whether something is urgent, and nothing else of
    // ioctl(2).
    #[allow(clippy::useless_conversion, reason = "a signed number with the libc of Alpine")]
    let resize = u64::try_from(libc::TIOCSWINSZ).unwrap_or_default();
    let size = [(1, SeccompCmpOp::Eq, resize)];
    #[allow(clippy::useless_conversion, reason = "as above")]
    let is_urgent = u64::try_from(SIOCATMARK).unwrap_or_default();
    let mark = [(1, SeccompCmpOp::Eq, is_urgent)];
    rules.push((libc::SYS_ioctl, vec![rule(&size)?, rule(&mark)?]));
    // That small pieces do not wait for each other, and nothing else of setsockopt(2).
    let no_delay = [
        (1, SeccompCmpOp::Eq, u64::try_from(libc::IPPROTO_TCP).unwrap_or_default()),
        (2, SeccompCmpOp::Eq, u64::try_from(libc::TCP_NODELAY).unwrap_or_default()),
    ];
    rules.push((libc::SYS_setsockopt, vec![rule(&no_delay)?]));
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter =
        SeccompFilter::new(rules.into_iter().collect(), refuse, SeccompAction::Allow, arch);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(io::Error::other)?;
    let _ = seccompiler::apply_filter(&program);
    Ok(())
}

/// What these arguments have to be, each as compared with a value.
fn rule(arguments: &[(u8, SeccompCmpOp, u64)]) -> io::Result<SeccompRule> {
    let condition = |(argument, operator, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
    };
    let conditions = arguments.iter().map(condition).collect::<Result<Vec<_>, _>>();
    conditions.and_then(SeccompRule::new).map_err(io::Error::other)
}
