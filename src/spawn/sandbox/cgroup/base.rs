//! The group of processes below which those of services are, and who else is in it.
//!
//! It is the one that the server was started in. But a group that limits others below it
//! may have no members of its own, the root excepted, so the server moves out of it, into
//! [`LEFT_FOR`]; and nobody can be put into it any more, a server after this one included:
//! at its end the server takes the controllers away again, or [`release`] does it.
//!
//! Where the service manager has put the server into a group [`SUBGROUP`] of the one that
//! it has delegated (`DelegateSubgroup=`, systemd 254), it is that one, and the groups of
//! services are beside the server's. Then nobody has to move, and limits hold on whatever
//! becomes of the server.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::unistd::getpid;

use super::files::{is_in_use, make_directory, put, read};
use crate::config::model::GroupLimits;
use crate::sys::cgroup::{LEFT_FOR, SUBGROUP, current, is_delegated, named, unavailable};
use crate::sys::proc::stat_of;

/// Where the service manager runs what belongs to a unit and is not its main process.
const CONTROL: &str = ".control";

/// Why a controller cannot be switched on.
const IN_THE_WAY: &str = "something else runs in this group, or in one like it";

/// How often it is looked for members that are to be moved: some may fork meanwhile.
const ROUNDS: usize = 8;

/// Has the controllers of these limits work in the groups below `base`. True if one had
/// to be switched on; `own` becomes where the server went to for that, if it had to.
pub(super) fn enable(
    base: &Path,
    own: &mut Option<PathBuf>,
    limits: GroupLimits,
) -> io::Result<bool> {
    let wanted = limits.controllers();
    let has = |file: &str| read(&base.join(file));
    let (available, enabled) = (has("cgroup.controllers")?, has("cgroup.subtree_control")?);
    if let Some(text) = unavailable(base, &available, &wanted) {
        return Err(io::Error::new(ErrorKind::Unsupported, text));
    }
    let is_on = |name: &str| enabled.split_whitespace().any(|known| known == name);
    let off = wanted.into_iter().filter(|name| !is_on(name));
    let missing: String = off.map(|name| format!("+{name} ")).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    // Only the root lacks this file; it may have members besides.
    if base.join("cgroup.type").exists() {
        move_out(base, own)?;
    }
    let result = put(&base.join("cgroup.subtree_control"), missing.trim_end());
    result.map_err(|error| match error.kind() {
        ErrorKind::ResourceBusy => io::Error::new(error.kind(), format!("{error}: {IN_THE_WAY}")),
        _ => error,
    })?;
    Ok(true)
}

/// Moves the server and what it has started out of `base`; and what a server before it has
/// left there, if all that is in it is ours.
fn move_out(base: &Path, own: &mut Option<PathBuf>) -> io::Result<()> {
    let me = getpid().as_raw();
    let mut home = current()?;
    if home == base {
        home = base.join(LEFT_FOR);
        make_directory(&home)?;
        put(&home.join("cgroup.procs"), &me.to_string())?;
        *own = Some(home.clone());
    }
    let all_is_ours = is_delegated(base);
    for _ in 0..ROUNDS {
        let members = read(&base.join("cgroup.procs"))?;
        let members = members.lines().filter_map(|line| line.parse().ok());
        let ours = members.filter(|pid| all_is_ours || descends_from(*pid, me));
        // One that has ended meanwhile (ESRCH) is no harm.
        let moved = ours.filter(|pid| put(&home.join("cgroup.procs"), &pid.to_string()).is_ok());
        if moved.count() == 0 {
            break;
        }
    }
    Ok(())
}

/// At the end of a server that has moved to `own`: whoever is started next can be put into
/// the base again. Who lives on there has no limits until then.
pub(super) fn give_back(base: &Path, own: &Path) {
    if is_in_use(base) {
        return;
    }
    let _ = take_controllers_away(base);
    // Back to where we came from. If somebody else is left there, the group goes with the
    // base.
    let _ = put(&base.join("cgroup.procs"), "0").and_then(|()| fs::remove_dir(own));
}

/// After the end of a server, however it ended: what `give_back` would have done, asked
/// for by the service manager (`ExecStopPost=`) in a group of its own below the base.
/// Nothing where that is not so, or where nobody is in the way.
///
/// # Errors
/// What the system answered.
pub(crate) fn release() -> io::Result<()> {
    let own = current()?;
    let Some(base) = own.parent().filter(|base| named(&own, CONTROL) && is_delegated(base)) else {
        return Ok(());
    };
    // The next server is put there.
    if base.join(SUBGROUP).exists() || is_in_use(base) {
        return Ok(());
    }
    take_controllers_away(base)
}

fn take_controllers_away(base: &Path) -> io::Result<()> {
    let control = base.join("cgroup.subtree_control");
    let enabled = read(&control)?;
    let off: Vec<String> = enabled.split_whitespace().map(|name| format!("-{name}")).collect();
    if off.is_empty() { Ok(()) } else { put(&control, &off.join(" ")) }
}

/// Whether `pid` is `ancestor` or was started by it, directly or not.
fn descends_from(mut pid: i32, ancestor: i32) -> bool {
    // Deeper than any chain of processes; the table may change while it is read.
    for _ in 0..1000 {
        if pid == ancestor {
            return true;
        }
        match stat_of(pid).ok().and_then(|stat| stat.parent) {
            // The ancestor may be process 1, in a container: its own parent is 0.
            Some(parent) if parent > 0 => pid = parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use nix::unistd::{getpid, getppid};

    use super::descends_from;

    #[test]
    fn descent_is_followed_up() {
        let me = getpid().as_raw();
        assert!(descends_from(me, me));
        assert!(descends_from(me, getppid().as_raw()));
        assert!(!descends_from(1, me));
    }
}
