//! The names of ciphers that a worker may have agreed upon with a client, as the standard has
//! them. It is not trusted: any other is none.

/// All that the library has.
const ALL: [&str; 9] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Whether it is one of them.
pub(crate) fn is_one(name: &str) -> bool {
    ALL.contains(&name)
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::ALL;
    use crate::front::worker::tls::name_of;

    #[test]
    fn they_are_those_of_the_library() {
        let suites = rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;
        let mut names: Vec<String> = suites.iter().filter_map(|it| name_of(it.suite())).collect();
        let mut all = ALL.map(str::to_owned);
        names.sort();
        all.sort();
        assert_eq!(names, all);
    }
}
