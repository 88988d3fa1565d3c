//! The page of a server: one file that asks for `/status.json` again and again, and keeps
//! what it plots to itself. Browsers are told to run and show what is in it and nothing else,
//! whatever names and messages may hold.

/// The page.
pub(crate) const SOURCE: &str = include_str!("page/page.html");

/// Its type.
pub(crate) const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// What browsers are told with every answer. The numbers are SHA-256 of the style and of the
/// script in the page.
pub(super) const FIELDS: &str = "\
    Content-Security-Policy: default-src 'none'; \
    script-src 'sha256-zZLyp0gq+reDNsybTrfP10LJXB/jMvL/HJpzQPpbwFs='; \
    style-src 'sha256-E4YSCJz1pG3NGeRCYdJjDRaVpuOg5lRKN6ZUThxtP2M='; \
    img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'\r\n\
    X-Content-Type-Options: nosniff\r\n\
    X-Frame-Options: DENY\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cross-Origin-Opener-Policy: same-origin\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// What is between the tags of this name.
    fn inside(tag: &str) -> &'static str {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let parts: Vec<&str> = SOURCE.split(open.as_str()).collect();
        assert_eq!(parts.len(), 2, "one {open}");
        parts[1].split(close.as_str()).next().unwrap()
    }

    #[cfg(feature = "tls")]
    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |three: &[u8]| {
            let bits = (0..3)
                .fold(0usize, |bits, at| bits << 8 | usize::from(*three.get(at).unwrap_or(&0)));
            let letter = |at: usize| match at > three.len() {
                true => '=',
                false => char::from(LETTERS[bits >> (18 - 6 * at) & 63]),
            };
            (0..4).map(letter).collect::<String>()
        };
        bytes.chunks(3).map(group).collect()
    }

    #[cfg(feature = "tls")]
    #[test]
    fn browsers_run_this_script_and_no_other() {
        for (tag, field) in [("script", "script-src"), ("style", "style-src")] {
            let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, inside(tag).as_bytes());
            let wanted = format!("{field} 'sha256-{}';", base64(sum.as_ref()));
            assert!(FIELDS.contains(&wanted), "the page has changed: {wanted}");
        }
    }

    #[test]
    fn the_page_is_small_whole_and_puts_in_text_only() {
        assert!(SOURCE.len() < 27_500, "{}", SOURCE.len());
        for foreign in ["src=", "@import", "url(", "http:", "https:", "integrity="] {
            let namespaces = SOURCE.replace("http://www.w3.org/2000/svg", "");
            assert!(!namespaces.contains(foreign), "{foreign}");
        }
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            " style=",
            " onclick=",
        ] {
            assert!(!SOURCE.contains(way), "{way}");
        }
        assert!(inside("script").contains("textContent"));
    }
}
