//! `usher check HISTORY`: re-runs the checkers on a saved history.

use std::fmt::Write;
use std::path::Path;

use super::checkers::{CHECKED, Violation, check as check_history};
use super::history::{History, HistoryError, read};

/// Violations that a report spells out.
const VIOLATIONS_SHOWN_MAX: usize = 50;
/// Records shown with each of them.
const RECORDS_SHOWN_MAX: usize = 4;

/// The report on a saved history, and whether it is clean.
///
/// # Errors
/// [`HistoryError`] if the file is not a history.
pub fn check(path: &Path) -> Result<(String, bool), HistoryError> {
    let history = read(path)?;
    let violations = check_history(&history);
    Ok((report(&history, &violations), violations.is_empty()))
}

fn report(history: &History, violations: &[Violation]) -> String {
    let mut text = format!(
        "{} records, {} violations of {}\n",
        history.records.len(),
        violations.len(),
        CHECKED.join(" ")
    );
    for violation in violations.iter().take(VIOLATIONS_SHOWN_MAX) {
        let _ = writeln!(text, "{violation}");
        for &index in violation.records.iter().take(RECORDS_SHOWN_MAX) {
            let record = history.records.get(index).map(serde_json::to_string);
            // A line number, as an editor counts: the header is the first line.
            if let Some(Ok(record)) = record {
                let _ = writeln!(text, "  line {}: {record}", index + 2);
            }
        }
    }
    if violations.len() > VIOLATIONS_SHOWN_MAX {
        let more = violations.len() - VIOLATIONS_SHOWN_MAX;
        let _ = writeln!(text, "and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::history::Recorder;
    use crate::truth::planted::{Fault, clean_history};

    fn checked(history: &History) -> (String, bool) {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("history.jsonl");
        let recorder = Recorder::to_file(&path).expect("file");
        for record in &history.records {
            recorder.record(record.clone());
        }
        recorder.finish().expect("written");
        check(&path).expect("a history")
    }

    #[test]
    fn a_clean_history_is_ok() {
        let (text, ok) = checked(&clean_history());
        assert!(ok, "{text}");
        assert!(text.contains(" 0 violations"), "{text}");
    }

    #[test]
    fn a_violation_is_named_with_its_lines() {
        let mut history = clean_history();
        Fault::ReusedNumber.plant(&mut history);
        let (text, ok) = checked(&history);
        assert!(!ok);
        assert!(text.contains("Q1: ") && text.contains("  line "), "{text}");
    }

    #[test]
    fn a_file_that_is_no_history_is_an_error() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("none.jsonl");
        assert!(matches!(check(&path), Err(HistoryError::Io(_))));
    }
}
