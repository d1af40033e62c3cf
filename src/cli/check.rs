//! `usher check`: the checkers again on a saved history.

use std::path::Path;

use crate::truth::cli;

use super::CliError;

pub(super) fn check(history: &Path) -> Result<(), CliError> {
    let named = |error| CliError::Failed(format!("{}: {error}", history.display()));
    let (report, is_clean) = cli::check(history).map_err(named)?;
    print!("{report}");
    if is_clean {
        return Ok(());
    }
    Err(CliError::Failed(
        "the history breaks what is promised".to_owned(),
    ))
}
