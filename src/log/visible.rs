//! Which characters are shown as they are, wherever text of others is: what reorders, hides
//! or drives what stands around it makes a line say what it does not.

/// Neither a control (Cc), a separator of lines (Zl, Zp), nor a character of format (Cf); nor
/// one that is drawn as nothing at all (a variation selector, a tag, a filler), or as
/// whatever somebody likes (private use, what is no character, planes without any).
pub(crate) fn is_shown(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    !character.is_control() && !is_hidden(character)
}

fn is_hidden(character: char) -> bool {
    matches!(character,
        // Format characters, and what is ignored by default.
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        // Private use, and what is no character.
        | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}'
        | '\u{1fffe}' | '\u{1ffff}' | '\u{2fffe}' | '\u{2ffff}'
        // Above the last ideographs: nothing yet, tags, variation selectors, private use.
        | '\u{34000}'..)
}

#[cfg(test)]
mod tests {
    use super::is_shown;

    #[test]
    fn text_of_any_script_is_shown() {
        let words = "daytime/tcp \"=\\ café Ünïcode 東京 한국 שלום سلام हिन्दी ไทย e\u{301} 😀 𠀀";
        for character in words.chars() {
            assert!(is_shown(character), "{:x}", u32::from(character));
        }
    }

    #[test]
    fn what_hides_or_reorders_text_or_drives_a_terminal_is_not_shown() {
        let kinds = [
            "\0\n\r\t\x1b\x7f\u{80}\u{85}\u{9b}\u{9f}",
            "\u{2028}\u{2029}",
            "\u{200e}\u{200f}\u{61c}\u{202a}\u{202e}\u{2066}\u{2069}",
            "\u{ad}\u{34f}\u{180e}\u{200b}\u{200c}\u{200d}\u{2060}\u{2064}\u{206f}\u{feff}",
            "\u{600}\u{6dd}\u{70f}\u{8e2}\u{fff9}\u{fffb}\u{110bd}\u{13430}\u{1bca0}\u{1d173}",
            "\u{115f}\u{1160}\u{17b4}\u{3164}\u{ffa0}\u{fff0}",
            "\u{180b}\u{fe00}\u{fe0f}\u{e0100}\u{e01ef}",
            "\u{e0001}\u{e0020}\u{e007f}",
            "\u{e000}\u{f8ff}\u{f0000}\u{10fffd}",
            "\u{fdd0}\u{fdef}\u{fffe}\u{ffff}\u{1ffff}\u{10ffff}\u{50000}",
        ];
        for character in kinds.concat().chars() {
            assert!(!is_shown(character), "{:x}", u32::from(character));
        }
    }
}
