//! Random numbers of the kernel.

#![allow(unsafe_code, reason = "raw system calls")]

use std::io;

use nix::libc;

/// Fills a few bytes.
///
/// # Errors
/// getrandom(2)'s: the kernel has none yet.
pub(crate) fn fill<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes no more than the length given. Up to 256 bytes come whole.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, libc::GRND_NONBLOCK) };
    match usize::try_from(count) {
        Ok(count) if count == N => Ok(bytes),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_alike() {
        assert_ne!(super::fill::<32>().unwrap(), super::fill::<32>().unwrap());
    }
}
