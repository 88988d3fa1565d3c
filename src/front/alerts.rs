//! Why a handshake fails, in the words of the standard (RFC 8446, section 6). A worker says it,
//! who is not trusted: what is none of these is not told.

use super::leaving::{CUT_OFF, IDLE, RESET, WORKER_DIED};

/// All alerts that there are, and what else a worker finds.
const ALL: [&str; 45] = [
    "close_notify",
    "unexpected_message",
    "bad_record_mac",
    "record_overflow",
    "handshake_failure",
    "no_certificate",
    "bad_certificate",
    "unsupported_certificate",
    "certificate_revoked",
    "certificate_expired",
    "certificate_unknown",
    "illegal_parameter",
    "unknown_ca",
    "access_denied",
    "decode_error",
    "decrypt_error",
    "export_restriction",
    "protocol_version",
    "insufficient_security",
    "internal_error",
    "inappropriate_fallback",
    "user_canceled",
    "no_renegotiation",
    "missing_extension",
    "unsupported_extension",
    "certificate_unobtainable",
    "unrecognised_name",
    "bad_certificate_status_response",
    "bad_certificate_hash_value",
    "unknown_psk_identity",
    "certificate_required",
    "no_application_protocol",
    "encrypted_client_hello_required",
    OLD_CERTIFICATE,
    OF_AUTHORITY,
    HTTP,
    HEADER,
    CLOSED,
    TIMEOUT,
    CROWDED,
    NO_TERMINAL,
    CUT_OFF,
    RESET,
    IDLE,
    WORKER_DIED,
];

/// The client's certificate is of version 1; what it hears of that is `certificate_unknown`.
pub(crate) const OLD_CERTIFICATE: &str = "certificate_version";
/// It says of itself that it is an authority's; likewise.
pub(crate) const OF_AUTHORITY: &str = "certificate_is_authority";
/// The client speaks plain HTTP.
pub(crate) const HTTP: &str = "http_request";
/// A PROXY header comes, of which the service does not know.
pub(crate) const HEADER: &str = "proxy_header";
/// It has closed the connection.
pub(crate) const CLOSED: &str = "closed";
/// It has had its time.
pub(crate) const TIMEOUT: &str = "timeout";
/// Others have come, and it has waited longest.
pub(crate) const CROWDED: &str = "crowded";
/// Something of it has no end.
pub(crate) const TOO_LONG: &str = "decode_error";
/// The machine has no terminal for it.
pub(crate) const NO_TERMINAL: &str = "no_terminal";
/// It would have to show a certificate.
pub(crate) const CERTIFICATE_REQUIRED: &str = "certificate_required";
/// Its certificate is made by somebody who is not trusted.
pub(crate) const UNKNOWN_CA: &str = "unknown_ca";
/// What it speaks is not spoken here.
pub(crate) const PROTOCOL_VERSION: &str = "protocol_version";
/// The same of what is spoken inside.
pub(crate) const NO_APPLICATION_PROTOCOL: &str = "no_application_protocol";
/// Its worker is gone.
pub(crate) const INTERNAL: &str = "internal_error";

/// Before the name of an alert that the client has sent.
pub(crate) const BY_CLIENT: &str = "client:";

/// What [`known`] knows, as a word.
#[must_use]
pub(crate) fn in_words((word, by_client): (&'static str, bool)) -> String {
    if by_client { BY_CLIENT.to_owned() + word } else { word.to_owned() }
}

/// The one of these words, or that nobody knows, and whether the client has said it.
#[must_use]
pub(crate) fn known(word: &str) -> (&'static str, bool) {
    let (word, by_client) = match word.strip_prefix(BY_CLIENT) {
        Some(word) => (word, true),
        None => (word, false),
    };
    (ALL.into_iter().find(|known| *known == word).unwrap_or(INTERNAL), by_client)
}
