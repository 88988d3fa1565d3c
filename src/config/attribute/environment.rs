//! `env` and `passenv`: lists that are read in their own way.

use std::ffi::OsString;

use super::value::{Operator, Problem, Value};

impl Value<'_> {
    /// `env`: names are unique, the last value counts; `-=` takes names.
    pub(super) fn env(
        &self,
        before: &[(String, OsString)],
    ) -> Result<Vec<(String, OsString)>, Problem> {
        let mut env = self.beginning(before);
        for word in self.words {
            let name = word.text.split_once('=').map(|(name, _)| name);
            if self.operator == Operator::Remove {
                let name = name.unwrap_or(&word.text);
                env.retain(|(known, _)| known != name);
                continue;
            }
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                let message = format!("`{}` is not `NAME=VALUE`", word.text);
                let help =
                    "a value with blanks is quoted: NAME='a b'; `passenv` passes a variable on";
                return Err(Problem::new(&word.span, message, help));
            };
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), word.tail(name.len() + 1)));
        }
        Ok(env)
    }

    /// `passenv`: a set of names.
    pub(super) fn names_of_variables(&self, before: &[String]) -> Result<Vec<String>, Problem> {
        let mut names = self.beginning(before);
        for word in self.words {
            if word.text.is_empty() || word.text.contains('=') {
                let message = format!("`{}` is not the name of a variable", word.text);
                let help = "`passenv` takes names; `env` takes `NAME=VALUE`";
                return Err(Problem::new(&word.span, message, help));
            }
            names.retain(|known| *known != word.text);
            if self.operator != Operator::Remove {
                names.push(word.text.clone());
            }
        }
        Ok(names)
    }
}
