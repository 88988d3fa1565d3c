//! The manual pages have what the program has: every attribute with its default, every option
//! and command, every word of the log with its keys; and they can be shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::daemon::command;
use crate::common::need_program;

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(project(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A manual page without its escapes, so that words can be looked for.
fn page(name: &str) -> String {
    read(&format!("etc/man/{name}")).replace("\\-", "-").replace("\\&", "")
}

#[test]
fn the_manual_page_of_the_language_has_every_attribute() {
    let text = page("oxinetd.conf.5");
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for attribute in oxinetd::config::attribute::all() {
        assert!(words.contains(&attribute.name), "oxinetd.conf(5) lacks {}", attribute.name);
    }
}

/// The long and short options that `--help` shows, each at the start of a line.
fn options(arguments: &[&str]) -> Vec<String> {
    let output = command(&[]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.split("\nOptions:\n").nth(1).unwrap().lines().map(str::trim_start);
    // `- auto: …` is a value of an option, not an option.
    let options = lines.filter(|line| line.starts_with('-') && !line.starts_with("- "));
    let words = options.flat_map(|line| line.split(' ').take_while(|word| word.starts_with('-')));
    let name = |word: &str| word.split(['[', ',', '=']).next().unwrap().to_owned();
    words.map(name).collect()
}

#[test]
fn the_manual_page_of_the_command_has_every_option_and_signal() {
    let text = page("oxinetd.8");
    let commands = commands();
    for name in &commands {
        assert!(text.contains(&format!(".Nm\n.Cm {name}\n")), "oxinetd(8) lacks {name}");
    }
    let helps: Vec<_> = commands.iter().map(|command| vec![command.as_str(), "--help"]).collect();
    for arguments in helps.iter().filter(|words| words[0] != "help").chain([&vec!["--help"]]) {
        for option in options(arguments) {
            if ["-h", "--help", "-V", "--version"].contains(&option.as_str()) {
                continue;
            }
            let name = option.trim_start_matches('-');
            // mdoc writes `--name` as `Fl -name`, and `-o` as `Fl o`.
            let (long, short) = (format!("Fl -{name}"), format!("Fl {name}"));
            let wanted = if option.starts_with("--") { long } else { short };
            assert!(text.contains(&wanted), "oxinetd(8) lacks {option} ({arguments:?})");
        }
    }
    for signal in ["HUP", "USR1", "USR2", "TERM", "INT", "QUIT"] {
        assert!(text.contains(signal), "oxinetd(8) lacks {signal}");
    }
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let output = command(&[]).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let list = text.split("\nCommands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// The words of an item of a page, without macros: `.Pq Cm no .` is `(no).`
fn words(item: &str) -> String {
    let mut text = String::new();
    for line in item.lines() {
        let Some(line) = line.strip_prefix('.') else {
            text += line;
            text.push(' ');
            continue;
        };
        let mut words: Vec<&str> = line.split(' ').collect();
        let in_parentheses = words.first() == Some(&"Pq");
        words.retain(|word| !["Pq", "Cm", "Pa", "Li", "Ar", "Ev", "Dv"].contains(word));
        let words = words.join(" ");
        let words = words.trim_end_matches(" .");
        text += &if in_parentheses { format!("({words}) ") } else { format!("{words} ") };
    }
    text
}

#[test]
fn the_manual_page_of_the_language_has_every_default() {
    let text = page("oxinetd.conf.5");
    let start = text.find(".Sh ATTRIBUTES").unwrap();
    let part = &text[start..text.find(".Sh RELAYS").unwrap()];
    let items: Vec<&str> = part.split("\n.It Cm ").skip(1).collect();
    for attribute in oxinetd::config::attribute::all() {
        let name = attribute.name;
        // The resource limits have one in common.
        let wanted = match name.starts_with("rlimit_") {
            true => continue,
            false => format!("({}", attribute.default),
        };
        let has = |item: &&str| {
            let head = item.lines().next().unwrap();
            head.split([' ', ',']).take_while(|word| *word != "No").any(|word| word == name)
        };
        let at = items.iter().position(has).unwrap_or_else(|| panic!("{name}"));
        let said = words(items[at]);
        let differs = ["log_on_success", "log_on_failure", "log_type"].contains(&name);
        assert!(differs || said.contains(&wanted), "{name}: no {wanted}) in {said}");
    }
}

/// The words of the log with their keys, as the source makes them.
fn vocabulary() -> Vec<(String, Vec<String>)> {
    let source = read("src/log/events/clients.rs") + &read("src/log/events.rs");
    let functions = source.split("\npub fn ").skip(1).filter(|text| text.contains("say("));
    functions
        .map(|text| {
            let pieces: Vec<&str> = text.split('"').collect();
            let strings = pieces.chunks(2).filter(|pair| pair.len() == 2);
            let strings: Vec<(&str, &str)> = strings.map(|pair| (pair[0], pair[1])).collect();
            let word = strings.iter().find(|(before, _)| {
                before.trim_end().ends_with("SERVER,") || before.ends_with("target(), ")
            });
            let is_key =
                |text: &str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
            let keys = strings.iter().filter(|(before, key)| before.ends_with('(') && is_key(key));
            (word.unwrap().1.to_owned(), keys.map(|(_, key)| (*key).to_owned()).collect())
        })
        .collect()
}

#[test]
fn the_manual_page_of_the_command_has_every_word_of_the_log_and_its_keys() {
    let text = page("oxinetd.8");
    let part = &text[text.find(".Sh DIAGNOSTICS").unwrap()..];
    let words = vocabulary();
    assert!(words.len() > 35, "{words:?}");
    for (word, keys) in words {
        let head = format!("Li {word}");
        let (alone, with_keys) = (head.clone() + "\n", head + " ");
        let is_about = |item: &&str| item.starts_with(&alone) || item.starts_with(&with_keys);
        let items: Vec<&str> = part.split(".It ").filter(is_about).collect();
        assert!(!items.is_empty() || part.contains(&with_keys), "oxinetd(8) lacks {word}");
        for key in keys.iter().filter(|_| word != "configuration" && word != "orphan") {
            let said = items.iter().any(|item| item.contains(&format!("{key}=")));
            assert!(said, "oxinetd(8) lacks {key} of {word}");
        }
    }
}

/// Why a client is refused before there is anything to admit: words that the log has.
#[test]
fn the_manual_page_of_the_command_has_every_word_of_why_a_client_is_refused() {
    let text = page("oxinetd.8");
    let item = text.split(".It Li refused ").last().unwrap().split(".It ").next().unwrap();
    let words: Vec<&str> = item.split_whitespace().collect();
    for (file, least) in [
        ("src/front/proxy/first_bytes.rs", 4),
        ("src/server/sessions/header.rs", 4),
        ("src/front/alerts.rs", 6),
    ] {
        let source = read(file);
        let constants = source.lines().filter(|line| line.contains(": &str = \""));
        let said: Vec<&str> = constants.map(|line| line.split('"').nth(1).unwrap()).collect();
        assert!(said.len() >= least, "{file}: {said:?}");
        // What the standard has is not listed.
        let is_own = |word: &&str| !["internal_error", "decode_error", "client:"].contains(word);
        for word in said.into_iter().filter(is_own) {
            assert!(words.contains(&word), "oxinetd(8) lacks {word} of {file}");
        }
    }
}

/// How a client has left its program, if not with an alert.
#[test]
fn the_manual_page_of_the_command_has_every_word_of_how_a_client_leaves() {
    let text = page("oxinetd.8");
    let item = text.split(".It Li ended ").last().unwrap().split(".It ").next().unwrap();
    let words: Vec<&str> = item.split_whitespace().collect();
    let source = read("src/front/leaving.rs");
    let constants = source.lines().filter(|line| line.contains(": &str = \""));
    let said: Vec<&str> = constants.map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(said.len(), 4);
    for word in said {
        assert!(words.contains(&word), "oxinetd(8) lacks {word} of how= in ended");
    }
}

#[test]
fn the_manual_pages_can_be_shown() {
    if !need_program("man") {
        return;
    }
    for name in ["oxinetd.8", "oxinetd.conf.5"] {
        let output = Command::new("man")
            .args(["-l", "--warnings", "-Tutf8"])
            .arg(project(&format!("etc/man/{name}")))
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success() && output.stdout.len() > 2000);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(complaints.is_empty(), "{name}: {complaints}");
    }
}
