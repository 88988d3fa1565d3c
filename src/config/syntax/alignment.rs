//! Which fields of a line are missing, and which have changed places: told by the words that can
//! stand in one of them only.

use crate::config::diagnostic::suggest::nearest;

/// The fields in their order.
pub(super) const FIELDS: [&str; COUNT] = ["service", "type", "protocol", "wait", "user", "program"];
const COUNT: usize = 6;
/// What the second field can be in any dialect.
const TYPES: [&str; 5] = ["stream", "dgram", "seqpacket", "raw", "rdm"];
const PROTOCOLS: [&str; 12] = [
    "tcp", "udp", "unix", "vsock", "tcp4", "tcp6", "udp4", "udp6", "tcp46", "udp46", "tcp6only",
    "rpc",
];
const WAITS: [&str; 2] = ["wait", "nowait"];

const TYPE: usize = 1;
const PROTOCOL: usize = 2;
const WAIT: usize = 3;
const USER: usize = 4;
const PROGRAM: usize = 5;

/// What is wrong with the order of the words of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// The fields that are missing, by number.
    Missing(Vec<usize>),
    /// Two that have changed places.
    Swapped(usize, usize),
    /// The first one is two words.
    Apart,
}

/// What is wrong, if each word that is there can stand in some field.
pub(super) fn misplaced(words: &[&str], is_user: &dyn Fn(&str) -> bool) -> Option<Misplaced> {
    let fields = words.get(..COUNT);
    if fields.is_some_and(|fields| fit(fields.iter().copied().enumerate())) {
        return None;
    }
    if is_apart(words) {
        return Some(Misplaced::Apart);
    }
    let swapped = fields.and_then(|fields| swapped(fields, is_user));
    let missing = || missing(words, is_user).map(Misplaced::Missing);
    let at_end =
        || (words.len() < COUNT).then(|| Misplaced::Missing((words.len()..COUNT).collect()));
    swapped.or_else(missing).or_else(at_end)
}

/// Whether an address and its port, or several ports, stand where one word should.
fn is_apart(words: &[&str]) -> bool {
    let said = |at: usize| words.get(at).and_then(|word| said(word));
    let has_port = words.get(1).is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
    has_port && (said(2), said(3), said(4)) == (Some(TYPE), Some(PROTOCOL), Some(WAIT))
}

/// The type of socket that a word is, whatever stands behind it in a field.
pub(super) fn is_type(word: &str) -> bool {
    said(word) == Some(TYPE)
}

/// Whether a word is `wait` or `nowait`, whatever stands behind it.
pub(super) fn is_wait(word: &str) -> bool {
    said(word) == Some(WAIT)
}

/// Whether a word can be nothing but one of the short fields of an entry.
pub(super) fn is_short_field(word: &str) -> bool {
    matches!(said(word), Some(TYPE..=WAIT))
}

/// The one field that a word can stand in.
fn said(word: &str) -> Option<usize> {
    let head = head(word).to_ascii_lowercase();
    match head.as_str() {
        head if TYPES.contains(&head) => Some(TYPE),
        head if PROTOCOLS.contains(&head) => Some(PROTOCOL),
        head if WAITS.contains(&head) => Some(WAIT),
        _ if word == "-" => Some(USER),
        _ if word.starts_with('/') || word == "internal" => Some(PROGRAM),
        _ => None,
    }
}

/// What stands before the first of `,.:/`.
fn head(word: &str) -> &str {
    word.split([',', '.', ':', '/']).next().unwrap_or(word)
}

/// Whether a word can stand in a field; one of few may be misspelt.
fn can_be(field: usize, word: &str) -> bool {
    let said = said(word);
    let resembles = |known: &[&'static str]| {
        said == Some(field)
            || said.is_none() && nearest(head(word), known.iter().copied()).is_some()
    };
    match field {
        TYPE => resembles(&TYPES),
        PROTOCOL => resembles(&PROTOCOLS),
        WAIT => resembles(&WAITS),
        USER | PROGRAM => said.is_none_or(|said| said == field),
        // `vsock:5000` is none of them.
        _ => word.contains(':') || !is_short_field(word),
    }
}

fn fit<'a>(mut placed: impl Iterator<Item = (usize, &'a str)>) -> bool {
    placed.all(|(field, word)| can_be(field, word))
}

/// Two words that, exchanged, would be right.
fn swapped(fields: &[&str], is_user: &dyn Fn(&str) -> bool) -> Option<Misplaced> {
    let mut pairs = (0..COUNT).flat_map(|one| (one + 1..COUNT).map(move |other| (one, other)));
    let right = |(one, other): &(usize, usize)| {
        let mut fields = fields.to_vec();
        fields.swap(*one, *other);
        // Any word can be a user: it takes one that is known.
        let is_sure = *other < USER || fields.get(USER).is_some_and(|it| is_known(it, is_user));
        is_sure && fit(fields.into_iter().enumerate())
    };
    pairs.find(right).map(|(one, other)| Misplaced::Swapped(one, other))
}

/// As few fields as can be without which all words have a place, the last of them if there is a
/// choice.
fn missing(words: &[&str], is_user: &dyn Fn(&str) -> bool) -> Option<Vec<usize>> {
    let least = COUNT.saturating_sub(words.len()).max(1);
    let sets = |count: usize| {
        let all =
            (1..1_u8 << COUNT).rev().map(|bits| (0..COUNT).filter(move |it| (bits >> it) & 1 == 1));
        all.map(Iterator::collect::<Vec<usize>>).filter(move |set| set.len() == count)
    };
    let found =
        |count: usize| sets(count).find(|set| is_likely(words, set, count == least, is_user));
    found(least).or_else(|| (least < COUNT).then(|| found(least + 1)).flatten())
}

/// Whether all words have a place without these fields. With more of them missing than must be,
/// nothing that is left over may be one of the rest.
fn is_likely(
    words: &[&str],
    set: &[usize],
    is_least: bool,
    is_user: &dyn Fn(&str) -> bool,
) -> bool {
    let kept = (0..COUNT).filter(|field| !set.contains(field));
    let placed: Vec<(usize, &str)> = kept.zip(words.iter().copied()).collect();
    let users_are_known =
        placed.iter().all(|(field, word)| *field != USER || is_known(word, is_user));
    let mut rest = words.iter().skip(placed.len()).take(COUNT);
    let is_rest = |word: &&str| matches!(said(word), Some(TYPE..=USER)) || is_known(word, is_user);
    let is_sure = is_least || !rest.any(is_rest);
    users_are_known && is_sure && fit(placed.into_iter())
}

/// Whether a word is somebody, as far as that can be told.
fn is_known(word: &str, is_user: &dyn Fn(&str) -> bool) -> bool {
    word == "-" || is_user(word.split([':', '.', '/']).next().unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::Misplaced::{Apart, Missing, Swapped};
    use super::{Misplaced, misplaced};

    fn of(line: &str) -> Option<Misplaced> {
        let words: Vec<&str> = line.split_whitespace().collect();
        misplaced(&words, &|name| ["root", "nobody"].contains(&name))
    }

    #[test]
    fn what_is_missing_is_found_by_what_is_there() {
        for (line, missing) in [
            ("stream tcp nowait - /bin/date date", &[0][..]),
            ("8080 tcp nowait - /bin/date date", &[1]),
            ("8080 tcp nowait - date", &[1]),
            ("8080 stream nowait - date -u", &[2]),
            ("8080 stream tcp - /bin/date date", &[3]),
            ("8080 stream tcp - date", &[3]),
            ("8080 stream tcp root date", &[3]),
            ("8080 stream tcp nowait /bin/date date", &[4]),
            ("8080 stream tcp nowait date", &[4]),
            ("8080 stream tcp nowait internal", &[4]),
            ("8080 stream tcp nowait internal echo", &[4]),
            ("8080 steam tpc nowiat /bin/date date", &[4]),
            ("8080 stream tcp nowait -", &[5]),
            ("8080 stream tcp nowait root", &[5]),
            ("8080 stream tcp nowait root:wheel", &[5]),
            ("8080 stream tcp /bin/date date", &[3, 4]),
            ("8080 stream tcp /bin/date date -u", &[3, 4]),
            ("8080 stream tcp date", &[3, 4]),
            ("8080 stream tcp date date", &[3, 4]),
            ("8080 stream nowait date", &[2, 4]),
            ("8080 date", &[1, 2, 3, 4]),
            ("8080 stream tcp", &[3, 4, 5]),
            ("8080", &[1, 2, 3, 4, 5]),
        ] {
            assert_eq!(of(line), Some(Missing(missing.to_vec())), "{line}");
        }
    }

    #[test]
    fn what_has_changed_places_is_found() {
        for (line, one, other) in [
            ("8080 tcp stream nowait - date", 1, 2),
            ("8080 tpc stream nowait - date", 1, 2),
            ("8080 stream nowait tcp - date", 2, 3),
            ("8080 nowait tcp stream - date", 1, 3),
            ("8080 stream tcp - nowait date", 3, 4),
            ("8080 stream tcp root nowait /bin/date date", 3, 4),
            ("8080 stream tcp nowait /bin/date - date", 4, 5),
            ("8080 stream tcp nowait /bin/date nobody", 4, 5),
            ("stream 8080 tcp nowait - date", 0, 1),
        ] {
            assert_eq!(of(line), Some(Swapped(one, other)), "{line}");
        }
    }

    #[test]
    fn an_endpoint_of_two_words_is_found() {
        for line in [
            "localhost 8080 stream tcp nowait - date",
            "127.0.0.1 8080 stream tcp nowait root /bin/date date",
            "8080, 8081 stream tcp nowait - date",
            "8080 8081 dgram udp wait date",
        ] {
            assert_eq!(of(line), Some(Apart), "{line}");
        }
    }

    #[test]
    fn what_is_only_misspelt_stays_in_its_place() {
        for line in [
            "8080 stream tcp nowait - date",
            "8080 stream tcp nowait cat cat",
            "8080 steam tcp nowait - cat",
            "8080 frob tcp nowait - cat",
            "8080 stream frob nowait - cat",
            "8080 stream tcp maybe - cat",
            "8080 stream tcp maybe root cat",
            "8080 stream rpc/udp wait root cat",
            "/run/x stream unix nowait - cat",
            "tcpmux/x stream tcp nowait - cat",
            "vsock:5000 STREAM vsock nowait.40 nobody:tty /bin/cat cat",
            "8080 stream,4 tcp,sndbuf=64k nowait/1/2/3 root/class internal",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
