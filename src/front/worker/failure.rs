//! Why a session fails, as the standard calls it, or in a word of our own where the standard has one
//! for many things.

use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};

use crate::front::alerts;

/// Whether a client speaks nothing as new as TLS 1.2: the library misses something of that in what
/// it says, before it looks at the version.
pub(super) fn is_too_old(error: &Error) -> bool {
    let missing = PeerIncompatible::SignatureAlgorithmsExtensionRequired;
    *error == Error::PeerIncompatible(missing)
}

/// What is wrong with a client's certificate, where the alert says no more than that something is.
fn wrong_certificate(error: &Error) -> Option<&'static str> {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else {
        return None;
    };
    match why.downcast_ref::<webpki::Error>()? {
        webpki::Error::UnsupportedCertVersion => Some(alerts::OLD_CERTIFICATE),
        webpki::Error::CaUsedAsEndEntity => Some(alerts::OF_AUTHORITY),
        _ => None,
    }
}

/// The name of an error's alert, as the standard has it; of one that is the client's, too.
pub(super) fn alert_of(error: &Error) -> String {
    if let Some(word) = wrong_certificate(error) {
        return word.to_owned();
    }
    let alert = match error {
        _ if is_too_old(error) => AlertDescription::ProtocolVersion,
        Error::AlertReceived(alert) => *alert,
        // As the library tells the client.
        Error::InvalidCertificate(why) => why.clone().into(),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => AlertDescription::ProtocolVersion,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::InvalidMessage(why) => AlertDescription::from(*why),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        _ => AlertDescription::InternalError,
    };
    let words = in_words(alert.as_str().unwrap_or("unknown_alert"));
    if matches!(error, Error::AlertReceived(_)) {
        alerts::BY_CLIENT.to_owned() + &words
    } else {
        words
    }
}

/// `CertificateExpired` as `certificate_expired`, `UnknownCA` as `unknown_ca`.
fn in_words(name: &str) -> String {
    let (mut words, mut was_small) = (String::new(), false);
    for letter in name.chars() {
        if was_small && letter.is_ascii_uppercase() {
            words.push('_');
        }
        was_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn alerts_have_the_names_of_the_standard() {
        for (name, words) in [
            ("CertificateExpired", "certificate_expired"),
            ("UnknownCA", "unknown_ca"),
            ("HandshakeFailure", "handshake_failure"),
            ("BadRecordMac", "bad_record_mac"),
        ] {
            assert_eq!(in_words(name), words);
        }
    }
}
