//! How results are printed: a table for people, JSON for programs.

use std::io::{ErrorKind, Write};
use std::str::FromStr;

use serde::Serialize;

use super::Failure;

/// What `--output` may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Output {
    #[default]
    Table,
    Json,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        match raw {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err("must be table or json".to_owned()),
        }
    }
}

/// Writes to stdout. A reader that has gone, such as `head`, is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes()).map(drop)
}

/// As [`print`], of what may be no text. Tells whether anybody reads.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes a result as JSON.
pub(super) fn print_json(result: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(result).map_err(|error| Failure::Failed(error.to_string()))?;
    print(&format!("{text}\n"))
}

/// Rows under a header, each column as wide as its widest cell. Whatever would break a line is replaced, since some of
/// it comes from elsewhere.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |text: &str| -> String {
        let shown = if text.is_empty() { "-" } else { text };
        shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    };
    let header: Vec<String> = header.iter().map(|title| clean(title)).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let mut widths = vec![0; header.len()];
    for line in std::iter::once(&header).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in std::iter::once(&header).chain(&rows) {
        let mut shown = String::new();
        for (width, cell) in widths.iter().zip(line) {
            shown.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up_and_lines_hold() {
        let rows = [vec!["c1".to_owned(), "a\nb".to_owned()], vec!["cell-2".to_owned(), String::new()]];
        assert_eq!(table(&["CELL", "STATE"], &rows), "CELL    STATE\nc1      a b\ncell-2  -\n");
    }
}
