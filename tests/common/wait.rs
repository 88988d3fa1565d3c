//! Waiting for a condition, with a deadline that fails the test and says what did not come.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take: generous, the machine may be busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Lets `span` pass without the processor: only to space out looks at a condition.
pub(crate) fn park(span: Duration) {
    let (_keep, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(span);
}

/// Looks every few milliseconds until `look` gives something.
///
/// # Panics
/// After [`DEADLINE`], naming `what`.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for: {what}");
        park(Duration::from_millis(5));
    }
}

/// As [`wait_for`], for a condition without a value.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    wait_for(what, || done().then_some(()));
}

/// Whether an end comes, and soon: it comes by force otherwise.
pub(crate) fn ends_soon(mut has_ended: impl FnMut() -> bool) -> bool {
    let mut looks = std::iter::repeat_with(|| {
        park(Duration::from_millis(5));
        has_ended()
    });
    looks.by_ref().take(400).any(|ended| ended)
}
