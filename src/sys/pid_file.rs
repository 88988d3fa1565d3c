//! The pid file: locked for as long as the server lives, so that two servers never
//! share one and a file left behind by a crash is in nobody's way.
//!
//! Everybody may read it, and lock it as one who reads. So the lock is one of writers, which
//! takes a descriptor that can write; where one of readers is in its way, no server has the
//! file, and a new one takes its place that was locked before anybody could open it.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

use super::trusted_path::ParentDirectory;

/// A locked pid file; removed when dropped, if it is still there.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: File,
    path: PathBuf,
    place: ParentDirectory,
}

/// Mode of a new one, less the umask.
const MODE: u32 = 0o644;
/// What a pid with some blanks is shorter than.
const LONGEST: u64 = 64;
/// Mode of one that is to take the place of another: nobody else opens it.
const PRIVATE: u32 = 0o600;

impl PidFile {
    /// Locks the file, and leaves what is in it until [`Self::write`].
    ///
    /// # Errors
    /// When another server holds it (its pid is in the error), when it is no regular file or
    /// what is in it is no pid, so that a mistyped name costs nobody a file, or the system's.
    pub(crate) fn lock(path: &Path) -> io::Result<Self> {
        // A server that ends unlinks the file; one that opened it before then has
        // locked a file that is gone, and takes the new one.
        loop {
            let place = ParentDirectory::of(path)?;
            if let Some(file) = lock_what_is_there(&place, path)? {
                return Ok(Self { file, path: path.to_owned(), place });
            }
        }
    }

    /// Goes on with a file that is locked already, and has the pid in it.
    ///
    /// # Errors
    /// fcntl(2)'s.
    pub(crate) fn taken_over(descriptor: OwnedFd, path: &Path) -> io::Result<Self> {
        let file = File::from(descriptor);
        // The lock belongs to the open file, which is the same: this changes nothing.
        set_lock(&file, libc::F_WRLCK)?;
        call_ourselves_after(path);
        Ok(Self { file, path: path.to_owned(), place: ParentDirectory::of(path)? })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor.
    pub(crate) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Writes the pid.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        call_ourselves_after(&self.path);
        self.file.rewind()?;
        self.file.set_len(0)?;
        writeln!(self.file, "{}", std::process::id())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another server may have made its own there.
        if self.place.leads_to(&self.file) {
            let _ = self.place.unlink();
        }
    }
}

/// Debian's update-inetd looks for a superserver in /run/inetd.pid, and sends HUP only to who
/// is called `inetd`.
fn call_ourselves_after(path: &Path) {
    if path.file_name().is_some_and(|name| name == "inetd.pid") {
        // For others to read, and nothing else.
        let _ = std::fs::write("/proc/self/comm", "inetd");
    }
}

/// None if the name leads to another file by now.
fn lock_what_is_there(place: &ParentDirectory, path: &Path) -> io::Result<Option<File>> {
    let mut file = place.open(OFlag::O_RDWR | OFlag::O_CREAT, MODE)?;
    if is_locked(&file)? {
        // With the lock of a reader, no server has it or comes to have it meanwhile.
        return match set_lock(&file, libc::F_RDLCK) {
            Ok(()) => replace(place, path, &file),
            Err(_) => Err(held_by(&mut file)),
        };
    }
    check(&mut file)?;
    Ok(place.leads_to(&file).then_some(file))
}

/// Puts a file in the place of one that somebody else has locked who can only read it.
fn replace(place: &ParentDirectory, path: &Path, old: &File) -> io::Result<Option<File>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let aside = ParentDirectory::of(Path::new(&name))?;
    let mut new = aside.open(OFlag::O_RDWR | OFlag::O_CREAT, PRIVATE)?;
    if is_locked(&new)? {
        let message = "another server is about to start with it";
        return Err(io::Error::new(ErrorKind::AlreadyExists, message));
    }
    check(&mut new)?;
    check(&mut old.try_clone()?)?;
    if !aside.leads_to(&new) {
        return Ok(None);
    }
    if !place.leads_to(old) {
        aside.unlink()?;
        return Ok(None);
    }
    place.take_from(&aside)?;
    let mode = old.metadata()?.permissions().mode() & 0o777;
    new.set_permissions(Permissions::from_mode(mode))?;
    Ok(Some(new))
}

fn check(file: &mut File) -> io::Result<()> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    // A configuration may begin with the number of a port.
    let is_pid = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_whitespace();
    if text.len() as u64 == LONGEST || !text.iter().all(is_pid) {
        let message = "this is no pid file: it has something else in it";
        return Err(io::Error::new(ErrorKind::InvalidData, message));
    }
    Ok(())
}

fn held_by(file: &mut File) -> io::Error {
    let mut pid = String::new();
    let _ = file.take(20).read_to_string(&mut pid);
    let message = format!("held by a running server, pid {}", pid.trim());
    io::Error::new(ErrorKind::AlreadyExists, message)
}

/// Tries to lock a file as one who writes it.
fn is_locked(file: &File) -> io::Result<bool> {
    match set_lock(file, libc::F_WRLCK) {
        Ok(()) => Ok(false),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The lock belongs to the open file: it stays when another program is executed.
fn set_lock(file: &File, kind: libc::c_int) -> Result<(), Errno> {
    let kind = libc::c_short::try_from(kind).unwrap_or_default();
    let whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    let whole = libc::flock { l_type: kind, l_whence: whence, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let mut first = PidFile::lock(&path).unwrap();
        first.write().unwrap();
        let refusal = PidFile::lock(&path).unwrap_err().to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(first);
        assert!(!path.exists());
    }

    /// Whoever can read it, and does not mean well, or only wants to read it in peace.
    fn reader(path: &Path) -> File {
        let file = File::open(path).unwrap();
        set_lock(&file, libc::F_RDLCK).unwrap();
        file.try_lock().unwrap();
        file
    }

    #[test]
    fn a_reader_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        std::fs::write(&path, "7\n").unwrap();
        let _reader = reader(&path);
        let mut first = PidFile::lock(&path).unwrap();
        first.write().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        let file = File::open(&path).unwrap();
        set_lock(&file, libc::F_RDLCK).unwrap_err();
        let refusal = PidFile::lock(&path).unwrap_err().to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_of_many_gets_what_a_reader_has_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        for _ in 0..50 {
            std::fs::write(&path, "7\n").unwrap();
            let reader = reader(&path);
            let locked = std::thread::scope(|scope| {
                let all = [(); 4].map(|()| scope.spawn(|| PidFile::lock(&path)));
                all.map(|one| one.join().unwrap().ok())
            });
            assert_eq!(locked.iter().flatten().count(), 1);
            drop((reader, locked));
        }
    }

    #[test]
    fn what_another_server_has_made_in_its_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let first = PidFile::lock(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut second = PidFile::lock(&path).unwrap();
        second.write().unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn what_is_no_regular_file_is_neither_waited_for_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refusal = PidFile::lock(&path).unwrap_err().to_string();
        assert!(refusal.contains("not a regular file"), "{refusal}");
        assert!(path.exists());
        PidFile::lock(folder.path()).unwrap_err();
    }

    #[test]
    fn a_lock_is_taken_over_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let first = PidFile::lock(&path).unwrap();
        let same = first.file.try_clone().unwrap().into();
        let second = PidFile::taken_over(same, &path).unwrap();
        // As at exec(2), nothing is dropped.
        std::mem::forget(first);
        assert!(PidFile::lock(&path).is_err());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_with_something_else_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inetd.conf");
        for text in ["# services\n", "8080 stream tcp nowait root /bin/cat cat\n"] {
            std::fs::write(&path, text).unwrap();
            PidFile::lock(&path).unwrap_err();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_left_behind_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        std::fs::write(&path, " 999999 \n\n").unwrap();
        PidFile::lock(&path).unwrap().write().unwrap();
    }
}
