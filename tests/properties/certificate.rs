//! What a certificate says, for whoever has made it.

use oxinetd::under_test::front::{distinguished_name, not_after};

/// It says something or nothing; a name has no line of its own.
pub(super) fn holds(bytes: &[u8]) {
    let _ = not_after(bytes);
    if let Some(name) = distinguished_name(bytes) {
        assert!(name.len() <= bytes.len().saturating_mul(4));
    }
}
