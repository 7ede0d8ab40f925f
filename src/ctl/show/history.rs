//! The history as a table, the oldest first.

use crate::control::wire::HistoryEntry;
use crate::ctl::words::{clean, date};

/// One line for each entry.
pub fn history(entries: &[HistoryEntry]) -> String {
    if entries.is_empty() {
        return "nothing has happened to the identity yet\n".to_owned();
    }
    let width = entries.iter().map(|entry| clean(&entry.kind).chars().count()).max().unwrap_or(0).min(24);
    let mut text = String::new();
    for entry in entries {
        let generation = entry.generation.map(|g| format!("#{g}")).unwrap_or_default();
        let id: String =
            clean(entry.certificate_id.as_deref().unwrap_or_default()).chars().take(12).collect();
        let line = format!(
            "{}  {:<width$}  {generation:>5}  {id:<12}  {}",
            date(entry.time),
            clean(&entry.kind),
            clean(&entry.text)
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::Time;

    #[test]
    fn each_entry_is_a_line_and_columns_stand_below_each_other() {
        let entry = |at, kind: &str, generation, text: &str| HistoryEntry {
            time: Time::from_seconds(at),
            kind: kind.into(),
            generation,
            certificate_id: generation.map(|_| "ab".repeat(32)),
            text: text.into(),
        };
        let entries = [
            entry(1_795_514_400, "provisioned", Some(1), "first certificate"),
            entry(1_795_518_000, "rotation-failed", None, "refused\u{7}"),
        ];
        let expected = "\
2026-11-24 10:00:00 UTC  provisioned         #1  abababababab  first certificate
2026-11-24 11:00:00 UTC  rotation-failed                       refused
";
        assert_eq!(history(&entries), expected);
        assert_eq!(history(&[]), "nothing has happened to the identity yet\n");
    }
}
