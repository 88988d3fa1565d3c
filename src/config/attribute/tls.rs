//! How what is said of TLS is written.

use super::definition::{Draft, Shown};
use super::form::Form;
use super::value::{Operator, Problem, Value};
use crate::config::model::TlsVersions;
use crate::config::text::words::{Word, quote};

const PAIR: &str = "write the certificate and its key: `tls = /etc/ssl/site.pem /etc/ssl/site.key`";
const THERE_ARE: &str = "there are `1.2` and `1.3`";

/// `CERTIFICATE KEY`, any number of pairs; `-=` takes the pairs of these certificates away.
pub(super) fn set_certificates(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let known = &mut draft.said.tls;
    if value.operator == Operator::Remove {
        let named = |own: &Word| value.words.iter().any(|word| word.text == own.text);
        known.retain(|(own, _)| !named(own));
        return Ok(());
    }
    let pairs = value.words.chunks_exact(2);
    if value.words.is_empty() || !pairs.remainder().is_empty() {
        return Err(Problem::new(value.place, "a key is missing", help_with_pair(value)));
    }
    if value.operator == Operator::Set {
        known.clear();
    }
    for pair in pairs {
        if let [own, key] = pair {
            known.push((own.clone(), key.clone()));
        }
    }
    Ok(())
}

/// `oxinetd run` makes one where a file cannot.
fn help_with_pair(value: &Value<'_>) -> String {
    match value.words {
        [only] if only.text == "self-signed" => {
            format!("only `oxinetd run --tls self-signed` makes one, to try it; {PAIR}")
        }
        _ => PAIR.to_owned(),
    }
}

pub(super) fn certificates(shown: &Shown<'_>) -> Option<String> {
    let pairs = shown.service.attributes.front.tls.iter();
    let pairs: Vec<String> = pairs
        .map(|it| format!("{} {}", quote(it.path.as_os_str()), quote(it.key.as_os_str())))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join(" "))
}

pub(super) fn authorities(shown: &Shown<'_>) -> Option<String> {
    let authorities = shown.service.attributes.front.tls_ca.as_ref()?;
    Some(quote(authorities.path.as_os_str()))
}

/// `1.2`, `1.3`, or both.
pub(super) const VERSIONS: Form<TlsVersions> = Form {
    read: |value, _| {
        let mut versions = TlsVersions { old: false, new: false };
        for word in value.words {
            match word.text.as_str() {
                "1.2" => versions.old = true,
                "1.3" => versions.new = true,
                other => {
                    let message = format!("`{other}` is no version of TLS that is spoken");
                    return Err(Problem::new(&word.span, message, THERE_ARE));
                }
            }
        }
        if value.words.is_empty() {
            return Err(Problem::new(value.place, "no version", THERE_ARE));
        }
        Ok(versions)
    },
    show: |versions| {
        let shown = match (versions.old, versions.new) {
            (true, true) => "1.2 1.3",
            (true, false) => "1.2",
            (false, _) => "1.3",
        };
        Some(shown.to_owned())
    },
};

/// Names of protocols, the preferred first.
pub(super) const ALPN: Form<Vec<String>> = Form {
    read: |value, _| {
        for word in value.words {
            let is_name = (1..=255).contains(&word.text.len())
                && word.text.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_name {
                let message = format!("`{}` is not the name of a protocol", word.text);
                return Err(Problem::new(&word.span, message, "write names like `http/1.1`"));
            }
        }
        Ok(value.words.iter().map(|word| word.text.clone()).collect())
    },
    show: |names| (!names.is_empty()).then(|| names.join(" ")),
};
