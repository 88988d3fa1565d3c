//! Requests for metrics, for signs of life and for the page, as much of HTTP as that takes
//! (RFC 9112). Each connection carries one request, and ends with its answer.

use super::page;

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
    /// `/`: everything, for people.
    People,
    /// `/status.json`: what `oxinetd status --json` prints.
    Status,
    /// `/peers.json`: what `oxinetd peers --json` prints.
    Peers,
}

/// What is answered at one kind of socket, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Its pages, by their paths.
    pages: &'static [(&'static str, Page)],
    /// Further fields in the head of every answer.
    fields: &'static str,
    /// Whether a request must say whom it means, as browsers do.
    needs_host: bool,
}

/// For those who collect metrics.
pub const METRICS: Site = Site {
    pages: &[("/metrics", Page::Metrics), ("/healthz", Page::Alive), ("/readyz", Page::Ready)],
    fields: "",
    needs_host: false,
};

/// For people.
pub const PAGE: Site = Site {
    pages: &[("/", Page::People), ("/status.json", Page::Status), ("/peers.json", Page::Peers)],
    fields: page::FIELDS,
    needs_host: true,
};

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
    /// 421.
    Misdirected,
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
            Self::Misdirected => "421 Misdirected Request",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

impl Site {
    /// Reads the head of a request; `is_own` says whether a Host is ours.
    pub fn read(&self, bytes: &[u8], is_own: impl Fn(&str) -> bool) -> RequestRead {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => self.wanted(&request, is_own),
            Ok(httparse::Status::Partial) if bytes.len() < LONGEST => RequestRead::Incomplete,
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                RequestRead::Refused(HttpStatus::TooLarge)
            }
            Err(_) => RequestRead::Refused(HttpStatus::BadRequest),
        }
    }

    fn wanted(
        &self,
        request: &httparse::Request<'_, '_>,
        is_own: impl Fn(&str) -> bool,
    ) -> RequestRead {
        let path = request.path.unwrap_or_default();
        // What comes after a question mark is for nobody here.
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let page = self.pages.iter().find(|(own, _)| *own == path).map(|(_, page)| *page);
        match host(request) {
            // Signs of life are no secret, and are asked for by all kinds of names.
            _ if matches!(page, Some(Page::Alive | Page::Ready)) => {}
            Host::None if !self.needs_host => {}
            Host::None | Host::Unclear => return RequestRead::Refused(HttpStatus::BadRequest),
            Host::One(host) if !is_own(host) => {
                return RequestRead::Refused(HttpStatus::Misdirected);
            }
            Host::One(_) => {}
        }
        let Some(page) = page else { return RequestRead::Refused(HttpStatus::NotFound) };
        match request.method {
            Some("GET") => RequestRead::Wants { page, body: true },
            Some("HEAD") => RequestRead::Wants { page, body: false },
            _ => RequestRead::Refused(HttpStatus::MethodNotAllowed),
        }
    }

    /// The head of an answer whose end is the end of the connection.
    pub fn head(&self, status: HttpStatus, content_type: &str) -> Vec<u8> {
        let (status_line, more) = (status.line(), self.fields);
        let allow =
            if status == HttpStatus::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status_line}\r\nContent-Type: {content_type}\r\n{allow}\
             Cache-Control: no-store\r\n{more}Connection: close\r\n\r\n"
        )
        .into_bytes()
    }

    /// A whole answer of a few words.
    pub fn short(&self, status: HttpStatus, words: &str, body: bool) -> Vec<u8> {
        let mut answer = self.head(status, "text/plain; charset=utf-8");
        if body {
            answer.extend_from_slice(words.as_bytes());
            answer.push(b'\n');
        }
        answer
    }

    /// The whole answer to a request that is refused.
    pub fn refusal(&self, status: HttpStatus) -> Vec<u8> {
        let words = match status {
            HttpStatus::NotFound => {
                let paths: Vec<&str> = self.pages.iter().map(|(path, _)| *path).collect();
                let (last, others) = paths.split_last().unwrap_or((&"", &[]));
                format!("{}: there are {} and {last}", status.line(), others.join(", "))
            }
            HttpStatus::Misdirected => format!(
                "{}: that Host is not this server's; --page-host says what else it is called",
                status.line()
            ),
            _ => status.line().to_owned(),
        };
        self.short(status, &words, true)
    }
}

/// Whom a request means.
enum Host<'a> {
    /// Nobody in particular.
    None,
    /// Several, or nobody can tell.
    Unclear,
    /// This one.
    One(&'a str),
}

fn host<'a>(request: &httparse::Request<'_, 'a>) -> Host<'a> {
    let mut hosts = request.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("host"));
    match (hosts.next(), hosts.next()) {
        (None, _) => Host::None,
        (Some(host), None) => std::str::from_utf8(host.value).map_or(Host::Unclear, Host::One),
        (Some(_), Some(_)) => Host::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    fn reading(text: &str) -> RequestRead {
        METRICS.read(text.as_bytes(), |host| host == "x")
    }

    fn reading_at_page(text: &str) -> RequestRead {
        PAGE.read(text.as_bytes(), |host| host == "us")
    }

    #[test]
    fn the_page_is_for_those_who_mean_us() {
        let wants = |page, body| RequestRead::Wants { page, body };
        for (line, wanted) in [
            ("GET / HTTP/1.1\r\nHost: us", wants(Page::People, true)),
            ("HEAD /status.json HTTP/1.0\r\nhOST:us", wants(Page::Status, false)),
            ("GET /peers.json?x HTTP/1.1\r\nHost: us ", wants(Page::Peers, true)),
            ("GET / HTTP/1.1\r\nHost: them", RequestRead::Refused(HttpStatus::Misdirected)),
            ("GET /x HTTP/1.1\r\nHost: them", RequestRead::Refused(HttpStatus::Misdirected)),
            ("POST / HTTP/1.1\r\nHost: them", RequestRead::Refused(HttpStatus::Misdirected)),
            ("GET / HTTP/1.1", RequestRead::Refused(HttpStatus::BadRequest)),
            (
                "GET / HTTP/1.1\r\nHost: us\r\nHost: us",
                RequestRead::Refused(HttpStatus::BadRequest),
            ),
            ("GET /metrics HTTP/1.1\r\nHost: us", RequestRead::Refused(HttpStatus::NotFound)),
            ("GET http://us/ HTTP/1.1\r\nHost: us", RequestRead::Refused(HttpStatus::NotFound)),
            ("POST / HTTP/1.1\r\nHost: us", RequestRead::Refused(HttpStatus::MethodNotAllowed)),
        ] {
            assert_eq!(reading_at_page(&format!("{line}\r\n\r\n")), wanted, "{line}");
        }
    }

    #[test]
    fn who_finds_nothing_hears_what_there_is() {
        let words = |site: Site| String::from_utf8(site.refusal(HttpStatus::NotFound)).unwrap();
        assert!(words(METRICS).ends_with(": there are /metrics, /healthz and /readyz\n"));
        assert!(words(PAGE).ends_with(": there are /, /status.json and /peers.json\n"));
    }

    #[test]
    fn finds_the_page() {
        for (line, page, body) in [
            ("GET /metrics HTTP/1.1", Page::Metrics, true),
            ("HEAD /healthz HTTP/1.0", Page::Alive, false),
            ("GET /readyz?x=1 HTTP/1.1", Page::Ready, true),
        ] {
            // Whoever looks for signs of life may call us what he likes.
            if page != Page::Metrics {
                let request = format!("{line}\r\nHost: probe\r\n\r\n");
                assert_eq!(reading(&request), RequestRead::Wants { page, body }, "{line}");
            }
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
        // Who says nothing of a host is no browser.
        assert_eq!(refused("GET /metrics HTTP/1.1\r\nHost: y\r\n\r\n"), HttpStatus::Misdirected);
        let twice = "GET /metrics HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n";
        assert_eq!(refused(twice), HttpStatus::BadRequest);
        let wanted = RequestRead::Wants { page: Page::Metrics, body: true };
        assert_eq!(reading("GET /metrics HTTP/1.0\r\n\r\n"), wanted);
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
            let _ = METRICS.read(&bytes, |_| true);
            let _ = PAGE.read(&bytes, |_| true);
        }
    }
}
