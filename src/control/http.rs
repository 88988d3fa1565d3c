//! Requests for metrics and for signs of life, as much of HTTP as that takes (RFC 9112).
//! Each connection carries one request, and ends with its answer.

/// Bytes of a request's head; a longer one is refused.
pub const LONGEST: usize = 8 * 1024;
/// Fields of a request's head.
const FIELDS: usize = 64;

/// What somebody wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// `/metrics`.
    Metrics,
    /// `/healthz`: whether the server lives.
    Alive,
    /// `/readyz`: whether it takes connections.
    Ready,
}

/// What has been read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestRead {
    /// The head of the request has not ended.
    Incomplete,
    /// A page is asked for; `body` is false for HEAD.
    Wants {
        /// Which page.
        page: Page,
        /// Whether more than its head is wanted.
        body: bool,
    },
    /// The answer is this status and nothing else.
    Refused(HttpStatus),
}

/// The statuses that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpStatus {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 431.
    TooLarge,
    /// 503.
    Unavailable,
}

impl HttpStatus {
    /// Number and words, as in the first line of an answer.
    #[must_use]
    pub fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }

    /// The same for people.
    #[must_use]
    pub fn explained(self) -> String {
        let more =
            if self == Self::NotFound { ": there are /metrics, /healthz and /readyz" } else { "" };
        format!("{}{more}", self.line())
    }
}

/// Reads the head of a request.
#[must_use]
pub fn read(bytes: &[u8]) -> RequestRead {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => wanted(request.method, request.path),
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => RequestRead::Incomplete,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            RequestRead::Refused(HttpStatus::TooLarge)
        }
        Err(_) => RequestRead::Refused(HttpStatus::BadRequest),
    }
}

fn wanted(method: Option<&str>, path: Option<&str>) -> RequestRead {
    let path = path.unwrap_or_default();
    // What comes after a question mark is for nobody here.
    let page = match path.split_once('?').map_or(path, |(path, _)| path) {
        "/metrics" => Page::Metrics,
        "/healthz" => Page::Alive,
        "/readyz" => Page::Ready,
        _ => return RequestRead::Refused(HttpStatus::NotFound),
    };
    match method {
        Some("GET") => RequestRead::Wants { page, body: true },
        Some("HEAD") => RequestRead::Wants { page, body: false },
        _ => RequestRead::Refused(HttpStatus::MethodNotAllowed),
    }
}

/// The head of an answer whose end is the end of the connection.
#[must_use]
pub fn head(status: HttpStatus, content_type: &str) -> Vec<u8> {
    let status_line = status.line();
    let allow = if status == HttpStatus::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status_line}\r\nContent-Type: {content_type}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// A whole answer of a few words.
#[must_use]
pub fn short(status: HttpStatus, words: &str, body: bool) -> Vec<u8> {
    let mut answer = head(status, "text/plain; charset=utf-8");
    if body {
        answer.extend_from_slice(words.as_bytes());
        answer.push(b'\n');
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    fn reading(text: &str) -> RequestRead {
        read(text.as_bytes())
    }

    #[test]
    fn finds_the_page() {
        for (line, page, body) in [
            ("GET /metrics HTTP/1.1", Page::Metrics, true),
            ("HEAD /healthz HTTP/1.0", Page::Alive, false),
            ("GET /readyz?x=1 HTTP/1.1", Page::Ready, true),
        ] {
            let whole = format!("{line}\r\nHost: x\r\n\r\n");
            assert_eq!(reading(&whole), RequestRead::Wants { page, body }, "{line}");
            for end in 0..whole.len() {
                assert_eq!(reading(&whole[..end]), RequestRead::Incomplete, "{line} {end}");
            }
        }
    }

    #[test]
    fn refuses_what_it_cannot_answer() {
        let refused = |text: &str| match reading(text) {
            RequestRead::Refused(status) => status,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), HttpStatus::NotFound);
        assert_eq!(refused("POST /metrics HTTP/1.1\r\n\r\n"), HttpStatus::MethodNotAllowed);
        assert_eq!(refused("\x16\x03\x01"), HttpStatus::BadRequest);
        assert_eq!(refused(&"GET /".repeat(LONGEST)), HttpStatus::BadRequest);
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(LONGEST));
        assert_eq!(refused(&long), HttpStatus::TooLarge);
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(FIELDS + 1));
        assert_eq!(refused(&many), HttpStatus::TooLarge);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
