//! "Did you mean …?": the nearest of a list of names.

use strsim::osa_distance;

/// The nearest of `candidates` to `word`, if it is near enough to be a slip of
/// the fingers: one edit (insert, delete, replace, swap of neighbours) in three letters, case apart.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // What nobody types by mistake: long words cost time and have no neighbours.
    if word.len() > 40 {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (osa_distance(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let length = word.chars().count().max(candidate.len());
            *distance <= (length / 3).max(1) && *distance < length
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`: names in a sentence.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    let Some(last) = quoted.pop() else { return String::new() };
    if quoted.is_empty() { last } else { format!("{} and {last}", quoted.join(", ")) }
}

/// What to say to who has written none of the names: which is meant, or something else.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    names: impl IntoIterator<Item = &'a str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    nearest(word, names).map_or_else(otherwise, |near| format!("did you mean `{near}`?"))
}

/// The same where all the names are few enough to be said.
pub(crate) fn one_of<'a>(word: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    did_you_mean(word, names.clone(), || format!("there are {}", listed(names)))
}

#[cfg(test)]
mod tests {
    use super::{listed, nearest, one_of};

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(nearest("instnaces", ["instances", "interface"]), Some("instances"));
        assert_eq!(nearest("nowiat", ["wait", "nowait"]), Some("nowait"));
        assert_eq!(nearest("tpc", ["udp", "tcp"]), Some("tcp"));
        assert_eq!(nearest("TCP", ["tcp", "udp"]), Some("tcp"));
        assert_eq!(nearest("qqqq", ["tcp", "udp"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn who_is_far_from_all_names_hears_them() {
        assert_eq!(one_of("tpc", ["udp", "tcp"]), "did you mean `tcp`?");
        assert_eq!(one_of("qqqq", ["udp", "tcp"]), "there are `udp` and `tcp`");
    }

    #[test]
    fn names_are_listed_as_in_a_sentence() {
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
