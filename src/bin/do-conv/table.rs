//! Tables of text.

use std::io::{self, Write};

/// Rows of cells below a row of headings; prints every column as wide as its widest cell.
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned)] }
    }

    pub fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |column: usize| {
            let widths = self.rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default()
        };
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            let line: Vec<_> = cells.collect();
            writeln!(out, "{}", line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A name from a file, fit for a terminal.
pub fn shown(name: &str) -> String {
    const MOST: usize = 100;
    if name.is_empty() {
        return "(no name)".to_owned();
    }
    let mut shown: String = name.escape_debug().take(MOST).collect();
    if name.escape_debug().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}
