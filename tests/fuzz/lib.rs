//! The properties, built once for all targets.

#[path = "../../src/config/tests/fake.rs"]
mod fake;
#[path = "../properties/mod.rs"]
mod properties;

/// Tries the property of a target, which panics if it does not hold.
pub fn try_out(target: &str, bytes: &[u8]) {
    properties::try_out(target, bytes);
}
