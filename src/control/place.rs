//! Where a server is asked if nobody says where: its control socket has the place that its
//! service manager, or its user's session, has for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// Where root's server is controlled.
const OF_ROOT: &str = "/run/oxinetd.sock";
/// The folder that the unit for systemd and the image of a container make for the user of
/// their server, whoever that is.
const FOLDER: &str = "/run/oxinetd";
/// The name of the socket in a folder.
const NAME: &str = "oxinetd.sock";

/// The place of this process's own control socket.
pub(crate) fn own() -> PathBuf {
    let first = to_ask().into_iter().next();
    first.unwrap_or_else(|| Path::new(FOLDER).join(NAME))
}

/// Whether this process is an ordinary user's and does not know the folder of his session.
pub(crate) fn lacks_session() -> bool {
    let known = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"].map(std::env::var_os);
    !Uid::effective().is_root() && known.iter().flatten().next().is_none()
}

/// Where to ask, the most likely place first: the one of the unit that this process belongs
/// to (as `ExecReload=` does), the user's, the one of the unit that we ship.
pub(crate) fn to_ask() -> Vec<PathBuf> {
    places(Uid::effective().is_root(), &|name| std::env::var_os(name))
}

fn places(is_root: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let below = |folder: PathBuf| folder.is_absolute().then(|| folder.join(NAME));
    let folder = |name| variable(name).map(PathBuf::from).and_then(below);
    // systemd.exec(5): several are separated by colons.
    let of_unit = variable("RUNTIME_DIRECTORY").and_then(|folders| {
        let folders = folders.into_string().ok()?;
        below(PathBuf::from(folders.split(':').next()?))
    });
    let of_user = if is_root { Some(PathBuf::from(OF_ROOT)) } else { folder("XDG_RUNTIME_DIR") };
    let shipped = below(PathBuf::from(FOLDER));
    let mut places: Vec<PathBuf> = [of_unit, of_user, shipped].into_iter().flatten().collect();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(is_root: bool, variables: &[(&str, &str)]) -> Vec<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let places = places(is_root, &variable);
        places.into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_unit_comes_before_the_user_and_the_shipped_place_last() {
        let last = "/run/oxinetd/oxinetd.sock";
        assert_eq!(found(true, &[]), ["/run/oxinetd.sock", last]);
        assert_eq!(found(true, &[("XDG_RUNTIME_DIR", "/x")]), ["/run/oxinetd.sock", last]);
        assert_eq!(found(false, &[]), [last]);
        assert_eq!(found(false, &[("XDG_RUNTIME_DIR", "/x")]), ["/x/oxinetd.sock", last]);
        let both = [("RUNTIME_DIRECTORY", "/run/a:/run/b"), ("XDG_RUNTIME_DIR", "/x")];
        assert_eq!(found(false, &both), ["/run/a/oxinetd.sock", "/x/oxinetd.sock", last]);
        let shipped = [("RUNTIME_DIRECTORY", "/run/oxinetd")];
        assert_eq!(found(false, &shipped), [last]);
        assert_eq!(found(true, &shipped), [last, "/run/oxinetd.sock", last]);
    }

    #[test]
    fn what_is_no_absolute_path_is_no_place() {
        let strange = [("RUNTIME_DIRECTORY", ""), ("XDG_RUNTIME_DIR", "here")];
        assert_eq!(found(false, &strange), ["/run/oxinetd/oxinetd.sock"]);
    }
}
