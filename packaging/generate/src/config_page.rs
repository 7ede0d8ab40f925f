//! `config.toml(5)`, made from the commented `etc/config.toml`: its sections, keys and comments, in its order.
//!
//! The file's form: comments before the first blank line are about the whole file; `[section]` begins one; a comment
//! belongs to the keys that follow it; a key is `key = value`, commented out or not.

use clap_mangen::roff::{Roff, bold, roman};

use crate::man::{DATE, PAGES};

/// The file is not of the form that the page is made from.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// A comment with no key after it.
    #[error("etc/config.toml:{0}: a comment at the end of a section that belongs to no key")]
    Loose(usize),
    /// A key that nothing is said about.
    #[error("etc/config.toml:{0}: nothing is said about this key")]
    Silent(usize),
}

/// The page.
pub fn page(config: &str) -> Result<String, PageError> {
    let mut roff = Roff::new();
    roff.control("TH", [NAME, "5", &DATE, &format!("certrotd {}", env!("CARGO_PKG_VERSION")), "certrotd"]);
    roff.control("SH", ["NAME"]).text([roman(format!("{NAME} - configuration of certrotd"))]);
    roff.control("SH", ["SYNOPSIS"]).text([bold("/etc/certrotd/config.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    let (head, rest) = config.split_once("\n\n").unwrap_or((config, ""));
    for paragraph in paragraphs(head.lines()).into_iter().skip(1) {
        roff.control("PP", []).text([roman(paragraph)]);
    }
    let mut lines = 2 + head.lines().count();
    for block in rest.split("\n\n") {
        section(block, lines, &mut roff)?;
        lines += block.lines().count() + 1;
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(PAGES.iter().filter(|p| !p.starts_with(NAME)).copied().collect::<Vec<_>>().join(", "))]);
    Ok(roff.to_roff())
}

fn section(block: &str, first: usize, roff: &mut Roff) -> Result<(), PageError> {
    let mut said: Vec<&str> = Vec::new();
    let mut keys = false;
    for (n, line) in block.lines().enumerate() {
        if line.starts_with('[') {
            roff.control("SH", [line]);
        } else if let Some(setting) = setting(line) {
            match (said.is_empty(), keys) {
                (true, false) => return Err(PageError::Silent(first + n)),
                // A second key under the same words.
                (true, true) => {
                    roff.control("TP", []).text([bold(setting)]).text([roman("Likewise.")]);
                }
                (false, _) => {
                    roff.control("TP", []).text([bold(setting)]);
                    for (nth, paragraph) in paragraphs(said.drain(..)).into_iter().enumerate() {
                        if nth > 0 {
                            roff.control("IP", []);
                        }
                        roff.text([roman(paragraph)]);
                    }
                }
            }
            keys = true;
        } else if !(said.is_empty() && line.trim() == "#") {
            said.push(line);
        }
    }
    if said.is_empty() { Ok(()) } else { Err(PageError::Loose(first + block.lines().count() - 1)) }
}

/// `# key = value` or `key = value`; the comment mark is no part of it.
fn setting(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let (key, _) = line.split_once(" = ")?;
    key.chars().all(|c| c.is_ascii_lowercase() || c == '-').then_some(line)
}

/// Comment lines as paragraphs; an empty comment ends one, and a line in columns is one by itself.
fn paragraphs<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in lines {
        let line = line.trim_start_matches('#').trim();
        if line.contains(COLUMNS) {
            found.extend([line.split_whitespace().collect::<Vec<_>>().join(" "), String::new()]);
            continue;
        }
        match found.last_mut() {
            Some(last) if !line.is_empty() => {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(&line.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            _ => found.push(String::new()),
        }
    }
    found.retain(|paragraph| !paragraph.is_empty());
    found
}

const NAME: &str = "config.toml";
const COLUMNS: &str = "   ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_configuration_is_on_the_page_with_what_is_said_of_it() {
        let page = page(crate::CONFIG).unwrap().replace("\\-", "-").replace("\\(aq", "'").replace("\\&", "");
        let mut keys = 0;
        for line in crate::CONFIG.lines() {
            let line = line.strip_prefix("# ").unwrap_or(line);
            if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains([' ', '`'])) {
                assert!(page.contains(&format!("\\fB{line}")), "{line}");
                keys += usize::from(!key.is_empty());
            }
        }
        assert!(keys > 25, "{keys}");
        for section in crate::CONFIG.lines().filter(|line| line.starts_with('[')) {
            assert!(page.contains(&format!(".SH {section}")), "{section}");
        }
        let line = "Unknown keys are refused. Check a change before it counts: certrotd --check-config\n";
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn a_key_without_a_word_and_a_word_without_a_key_are_refused() {
        assert_eq!(page("# a\n# b\n\n[device]\nserial = 1\n"), Err(PageError::Silent(5)));
        assert_eq!(page("# a\n# b\n\n[device]\n# Who.\nserial = 1\n# What?\n"), Err(PageError::Loose(7)));
    }
}
