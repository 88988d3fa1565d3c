//! Values so that no byte of theirs can end a line or drive a terminal: in the text
//! form and in JSON (RFC 8259).

use std::fmt::{self, Display, Write};

use super::visible::is_shown;

/// Adds a text as a value: bare when it is one plain word, else in quotes.
pub(crate) fn push_quoted(out: &mut String, bytes: &[u8]) {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    match std::str::from_utf8(bytes) {
        Ok(word) if !word.is_empty() && bytes.iter().all(plain) => out.push_str(word),
        _ => push_always_quoted(out, bytes),
    }
}

/// Adds a value that is quoted even when it is one word.
pub(crate) fn push_always_quoted(out: &mut String, bytes: &[u8]) {
    out.push('"');
    push_escaped(out, bytes);
    out.push('"');
}

/// Printable text as it is; quotes, backslashes, controls and what is not UTF-8 escaped.
fn push_escaped(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            // Writing to memory does not fail.
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                '\t' => out.push_str("\\t"),
                _ if is_shown(character) => out.push(character),
                _ if character.is_ascii() => _ = write!(out, "\\x{:02x}", u32::from(character)),
                _ => _ = write!(out, "\\u{{{:x}}}", u32::from(character)),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// A text that ends the line, escaped but not quoted.
pub struct Plain<'a>(pub &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            _ if is_shown(character) => f.write_char(character),
            _ => write!(f, "\\x{:02x}", u32::from(character)),
        })
    }
}

/// A string of JSON. A byte that is not UTF-8, for which JSON has no way, is the text `\xNN`.
pub(crate) struct Json<'a>(pub(crate) &'a [u8]);

impl Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            JsonInside(&mut *f).write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

/// Whatever can be displayed, as a string of JSON, without a copy of its text.
pub(crate) struct JsonOf<'a>(pub(crate) &'a dyn Display);

impl Display for JsonOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(JsonInside(&mut *f), "{}", self.0)?;
        f.write_char('"')
    }
}

/// What is written here comes out as the inside of a string of JSON.
struct JsonInside<W>(W);

impl<W: Write> Write for JsonInside<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| match character {
            '"' | '\\' => write!(self.0, "\\{character}"),
            '\n' => self.0.write_str("\\n"),
            '\t' => self.0.write_str("\\t"),
            _ if is_shown(character) => self.0.write_char(character),
            _ => character
                .encode_utf16(&mut [0; 2])
                .iter()
                .try_for_each(|unit| write!(self.0, "\\u{unit:04x}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(bytes: &[u8]) -> String {
        let mut out = String::new();
        push_quoted(&mut out, bytes);
        out
    }

    fn word(text: &str) -> String {
        quoted(text.as_bytes())
    }

    #[test]
    fn plain_words_stay_bare() {
        assert_eq!(word("daytime/tcp"), "daytime/tcp");
        assert_eq!(word(""), "\"\"");
        assert_eq!(word("two words"), "\"two words\"");
    }

    #[test]
    fn nothing_ends_a_line_or_drives_a_terminal() {
        let nasty = b"a\"b\\\n\r\x1b[31m\x00\xff\xc3\xa9\xe2\x80\xae";
        let written = quoted(nasty);
        assert_eq!(written, "\"a\\\"b\\\\\\x0a\\x0d\\x1b[31m\\x00\\xff\u{e9}\\u{202e}\"");
        let json = Json(nasty).to_string();
        let wanted = r#""a\"b\\\n\u000d\u001b[31m\u0000\\xffé\u202e""#;
        assert_eq!(json, wanted);
    }

    fn parsed(json: &str) -> String {
        serde_json::from_str(json).unwrap()
    }

    proptest! {
        #[test]
        fn json_is_read_back_as_it_was(text in "\\PC*|.*") {
            let (bytes, written) = (Json(text.as_bytes()).to_string(), JsonOf(&text).to_string());
            prop_assert_eq!(&bytes, &written);
            prop_assert_eq!(parsed(&bytes), text);
        }

        #[test]
        fn any_bytes_are_json_without_controls(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let json = Json(&bytes).to_string();
            prop_assert!(!json.chars().any(char::is_control));
            let _ = parsed(&json);
        }
    }
}
