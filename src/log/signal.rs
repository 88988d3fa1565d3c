//! Signals by the names that `kill -l` has for them.

use nix::sys::signal::Signal;

/// The first of the realtime signals, as the kernel counts them.
const FIRST: i32 = 32;

/// Realtime signals, which have a number only. glibc keeps two for itself and calls the third
/// the first.
const REALTIME: [&str; 33] = [
    "SIG32",
    "SIG33",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+16",
    "SIGRTMIN+17",
    "SIGRTMIN+18",
    "SIGRTMIN+19",
    "SIGRTMIN+20",
    "SIGRTMIN+21",
    "SIGRTMIN+22",
    "SIGRTMIN+23",
    "SIGRTMIN+24",
    "SIGRTMIN+25",
    "SIGRTMIN+26",
    "SIGRTMIN+27",
    "SIGRTMIN+28",
    "SIGRTMIN+29",
    "SIGRTMIN+30",
];

/// The name of a signal.
pub fn signal_name(number: i32) -> &'static str {
    if let Ok(signal) = Signal::try_from(number) {
        return signal.as_str();
    }
    let realtime = usize::try_from(number.saturating_sub(FIRST)).ok();
    realtime.and_then(|index| REALTIME.get(index)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_the_name_that_people_know() {
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!([32, 34, 35].map(signal_name), ["SIG32", "SIGRTMIN", "SIGRTMIN+1"]);
        assert_eq!(signal_name(64), "SIGRTMIN+30");
        assert_eq!([0, -1, 65].map(signal_name), ["unknown"; 3]);
    }
}
