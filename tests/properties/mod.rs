//! What holds whatever comes from outside: a file for each place where bytes come in.
//! `cargo fuzz` looks for bytes for which it does not hold; `cargo test` tries all that
//! are stored.

mod access;
mod answer;
mod certificate;
mod command_line;
mod conversation;
mod findings;
mod http;
mod inetd;
mod log_line;
mod machine;
mod proxy;
mod reload;
mod request;
mod state;
mod telnet;
mod wire;
mod worker;
mod xinetd;
mod zone;

/// Panics for bytes for which it does not hold.
type Property = fn(&[u8]);

/// Every property under the name of its target.
pub(crate) const TARGETS: &[(&str, Property)] = &[
    ("access", access::holds),
    ("answer", answer::holds),
    ("certificate", certificate::holds),
    ("command_line", command_line::holds),
    ("conversation", conversation::holds),
    ("http", http::holds),
    ("inetd", inetd::holds),
    ("log_line", log_line::holds),
    ("proxy", proxy::holds),
    ("reload", reload::holds),
    ("request", request::holds),
    ("state", state::holds),
    ("telnet", telnet::holds),
    ("wire", wire::holds),
    ("worker", worker::holds),
    ("xinetd", xinetd::holds),
    ("zone", zone::holds),
];

/// Tries the property of a target.
pub(crate) fn try_out(target: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    let (_, holds) = found.unwrap_or_else(|| panic!("there is no target {target}"));
    holds(bytes);
}
