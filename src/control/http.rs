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
pub enum Reading {
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
    Refused(Status),
}

/// The statuses that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
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

impl Status {
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
pub fn read(bytes: &[u8]) -> Reading {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => wanted(request.method, request.path),
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => Reading::Incomplete,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Reading::Refused(Status::TooLarge)
        }
        Err(_) => Reading::Refused(Status::BadRequest),
    }
}

fn wanted(method: Option<&str>, path: Option<&str>) -> Reading {
    let path = path.unwrap_or_default();
    // What comes after a question mark is for nobody here.
    let page = match path.split_once('?').map_or(path, |(path, _)| path) {
        "/metrics" => Page::Metrics,
        "/healthz" => Page::Alive,
        "/readyz" => Page::Ready,
        _ => return Reading::Refused(Status::NotFound),
    };
    match method {
        Some("GET") => Reading::Wants { page, body: true },
        Some("HEAD") => Reading::Wants { page, body: false },
        _ => Reading::Refused(Status::MethodNotAllowed),
    }
}

/// The head of an answer whose end is the end of the connection.
#[must_use]
pub fn head(status: Status, content_type: &str) -> Vec<u8> {
    let status_line = status.line();
    let allow = if status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status_line}\r\nContent-Type: {content_type}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// A whole answer of a few words.
#[must_use]
pub fn short(status: Status, words: &str, body: bool) -> Vec<u8> {
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

    fn reading(text: &str) -> Reading {
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
            assert_eq!(reading(&whole), Reading::Wants { page, body }, "{line}");
            for end in 0..whole.len() {
                assert_eq!(reading(&whole[..end]), Reading::Incomplete, "{line} {end}");
            }
        }
    }

    #[test]
    fn refuses_what_it_cannot_answer() {
        let refused = |text: &str| match reading(text) {
            Reading::Refused(status) => status,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Status::NotFound);
        assert_eq!(refused("POST /metrics HTTP/1.1\r\n\r\n"), Status::MethodNotAllowed);
        assert_eq!(refused("\x16\x03\x01"), Status::BadRequest);
        assert_eq!(refused(&"GET /".repeat(LONGEST)), Status::BadRequest);
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(LONGEST));
        assert_eq!(refused(&long), Status::TooLarge);
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(FIELDS + 1));
        assert_eq!(refused(&many), Status::TooLarge);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
