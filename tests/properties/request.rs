//! A line that somebody says at the control socket.

use oxinetd::under_test::control::Request;
use oxinetd::under_test::control::answer::{RequestRefusal, line};

/// It is a request that is the same when it is sent again, or the error is answered in one line.
pub(super) fn holds(bytes: &[u8]) {
    let Ok(said) = std::str::from_utf8(bytes) else { return };
    match Request::parse(said) {
        Ok(request) => {
            let sent = serde_json::to_string(&request).unwrap();
            assert!(!sent.contains('\n'), "{sent:?}");
            assert_eq!(Request::parse(&sent).as_ref(), Ok(&request), "{sent}");
            assert!(!request.words().is_empty());
        }
        Err(error) => {
            assert!(!error.is_empty());
            let answer = line(&RequestRefusal { error });
            assert_eq!(answer.iter().position(|byte| *byte == b'\n'), Some(answer.len() - 1));
        }
    }
}
