//! Those who speak plain HTTP where TLS is spoken: they are told so.

/// What the requests of HTTP begin with.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"TRACE ",
    b"CONNECT ",
];

/// What they are told.
pub(super) const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\nContent-Length: 44\r\nConnection: close\r\n\r\n\
    TLS is spoken here: write https, not http.\r\n";

/// Whether the first bytes of a client are a request of HTTP.
pub(super) fn is_request(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method))
}

#[cfg(test)]
mod tests {
    use super::{ANSWER, is_request};

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let answer = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }

    #[test]
    fn a_request_is_told_from_a_record() {
        assert!(is_request(b"GET / HTTP/1.1\r\n"));
        assert!(!is_request(b"\x16\x03\x01\x02\x00"));
        assert!(!is_request(b"GE"));
    }
}
