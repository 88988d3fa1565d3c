//! Looks for bytes for which the property of the same name does not hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxinetd_fuzz::try_out("worker", bytes));
