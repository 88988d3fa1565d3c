//! How lines of the table are written.

use super::definition::{Attribute, How, Scope};

/// One line of the table: name, scope, form of a value, default, help, how it is read and
/// printed, and what else it is: `list`, `narrows`, `harmless`.
macro_rules! row {
    ($name:literal, $scope:ident, $value:literal, $default:literal, $help:literal, $how:expr $(, $is:ident)*) => {
        Attribute {
            name: $name,
            value: $value,
            default: $default,
            help: $help,
            scope: Scope::$scope,
            how: $how,
            $($is: true,)*
            ..PLAIN
        }
    };
}

/// A field of the model, and the form in which it is written.
macro_rules! field {
    ($($field:ident).+, $form:expr) => {
        How {
            set: |draft, value| {
                let field = &mut draft.attributes.$($field).+;
                *field = ($form.read)(value, field)?;
                Ok(())
            },
            print: |shown| $form.print(shown, |attributes| &attributes.$($field).+),
        }
    };
}

/// A field that is one of some words.
macro_rules! choice {
    ($($field:ident).+, $type:ident, $($word:literal => $choice:ident),+) => {
        field!($($field).+, Form::<$type> {
            read: |value, _| value.choice(&[$(($word, $type::$choice)),+]),
            show: |choice| Some(match choice { $($type::$choice => $word),+ }.to_owned()),
        })
    };
}

/// A word that is looked up later, and how it is printed.
macro_rules! word {
    ($($field:ident).+, $print:expr) => {
        How {
            set: |draft, value| {
                draft.$($field).+ = Some(value.word()?.clone());
                Ok(())
            },
            print: $print,
        }
    };
}

/// `yes` or `no` about what is no field of the model.
macro_rules! yes_no {
    ($field:ident, $print:expr) => {
        How {
            set: |draft, value| {
                draft.$field = value.yes_no()?;
                Ok(())
            },
            print: $print,
        }
    };
}

/// A resource limit.
macro_rules! rlimit {
    ($resource:ident) => {
        How {
            set: |draft, value| {
                let limit = match Resource::$resource {
                    Resource::Cpu => value.seconds()?,
                    _ => value.resource()?,
                };
                let limits = &mut draft.attributes.process.rlimits;
                limits.retain(|(resource, _)| *resource != Resource::$resource);
                limits.push((Resource::$resource, limit));
                limits.sort_unstable();
                Ok(())
            },
            print: |shown| print::rlimit(shown, Resource::$resource),
        }
    };
}

/// The line of a resource limit.
macro_rules! limit_row {
    ($name:literal, $resource:ident, $value:literal, $help:literal $(, $is:ident)*) => {
        row! { $name, Program, $value, "the server's", $help, rlimit!($resource) $(, $is)* }
    };
}

/// What a line does not say.
pub(super) const PLAIN: Attribute = Attribute {
    name: "",
    aliases: &[],
    value: "",
    default: "",
    help: "",
    list: false,
    scope: Scope::Every,
    narrows: false,
    harmless: false,
    how: How { set: |_, _| Ok(()), print: |_| None },
};

pub(super) use {choice, field, limit_row, rlimit, row, word, yes_no};
