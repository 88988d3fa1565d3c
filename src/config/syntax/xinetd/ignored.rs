//! Lines of a block that xinetd ignores, with a word in its log: here they are ignored with
//! a warning.

use super::block::{Block, BlockLine};
use super::converter::Converter;
use super::known::{self, KnownAttribute};
use crate::config::attribute::value::Operator;

/// What nearly no service can be without.
const NEEDED: [&str; 4] = ["socket_type", "wait", "user", "server"];

/// Fields that can have many words.
const FIELDS: [&str; 3] = ["type", "flags", "server_args"];

impl Converter<'_> {
    /// Takes the lines out of a block that xinetd ignores, with a word of each: attributes
    /// that it does not know, operators that mean nothing, and too few or too many values.
    /// Where such a line seems to say who may connect, the block is broken instead.
    pub(super) fn drop_ignored(&mut self, block: &mut Block) {
        let mut broken = self.lacks_words(block);
        let signless = &mut block.signless;
        block.lines.retain(|line| match known::find(&line.name.text) {
            Some(known) => {
                let is_right = self.is_well_formed(line, known);
                if !is_right {
                    signless.push(line.name.clone());
                }
                is_right
            }
            None => {
                broken |= self.unknown(line);
                false
            }
        });
        block.broken |= broken;
    }

    /// Whether a field that can have many words has none: xinetd leaves the service out.
    fn lacks_words(&mut self, block: &Block) -> bool {
        let wordless = |name: &&str| block.get(name).filter(|line| line.values.is_empty());
        let found: Vec<&BlockLine> = FIELDS.iter().filter_map(wordless).collect();
        for line in &found {
            let name = &line.name.text;
            self.report
                .error(&line.place, format!("`{name}` has no value"))
                .help(format!("write what it is to be behind `{name} =`, or take the line out"));
        }
        !found.is_empty()
    }

    /// True if nothing of the block can be trusted any more.
    fn unknown(&mut self, line: &BlockLine) -> bool {
        let name = line.name.text.as_str();
        let who = known::who(name).is_some();
        let finding = if who {
            self.report.error(&line.name.span, format!("unknown attribute `{name}`"))
        } else {
            self.report.warning(&line.name.span, format!("unknown attribute `{name}`: ignored"))
        };
        finding.help(known::help_for_unknown(name));
        who
    }

    fn is_well_formed(&mut self, line: &BlockLine, known: KnownAttribute) -> bool {
        let name = known.name;
        if line.operator != Operator::Set && !known.list {
            self.report
                .warning(
                    &line.name.span,
                    format!("`{name}` has one value: `{}` is ignored", line.operator.text()),
                )
                .help(format!("write `{name} = …`"));
            return false;
        }
        let Some(wanted) = known::words_of(name) else { return true };
        let (found, place) = (line.values.len(), &line.place);
        // What xinetd has not: a second of its own, and the name of a unix socket.
        let first = line.values.first().map_or("", |word| word.text.as_str());
        let has_comma = name == "cps" && first.contains(',');
        let own = name == "cps" && !has_comma || first.starts_with(['/', '@']);
        let fewer = found == 1 && own;
        if found == wanted || fewer {
            return true;
        }
        let values = |count| if count == 1 { "1 value" } else { "2 values" };
        let message = match found {
            0 => format!("`{name}` has no value"),
            1 => format!("`{name}` has 1 value, not {wanted}"),
            _ => format!("`{name}` has {found} values, not {wanted}"),
        };
        let help = match name {
            _ if found == 0 => format!("write {} behind `{name} =`", values(wanted)),
            _ if has_comma => "write a blank between the values, no comma".to_owned(),
            "redirect" if found == 1 => {
                let written = first.rsplit_once(':');
                let (host, port) = written.unwrap_or((first, "PORT"));
                format!("write `redirect = {host} {port}`")
            }
            "server" => "write the arguments of the program behind `server_args =`".to_owned(),
            _ => format!("write {}; blanks cannot be quoted in this file", values(wanted)),
        };
        if NEEDED.contains(&name) {
            self.report.error(place, message).help(help);
        } else {
            self.report.warning(place, format!("{message}: ignored")).help(help);
        }
        false
    }
}
