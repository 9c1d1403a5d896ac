//! Tables of text that fit the terminal.

use std::env;
use std::io::{IsTerminal, stdout};
use std::ops::Range;

use console::Term;

use crate::text::{shortened, width};

/// What a column has in it.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Names, which are cut in the middle where there is no room.
    Name,
    Text,
    /// Numbers, to the right.
    Number,
}

/// Columns that names are never cut below.
const SHORTEST_NAME: usize = 16;

/// What columns of the second and further lines of a row stand in by.
const INDENT: usize = 4;

const GAP: usize = 2;

/// Rows of cells below a row of headings, each column as wide as its widest cell. Where the terminal is
/// narrower names are cut, and then rows take several lines.
pub struct Table<const N: usize> {
    kinds: [Kind; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(columns: [(&str, Kind); N]) -> Self {
        let headings = columns.map(|(heading, _)| heading.to_owned());
        Self { kinds: columns.map(|(_, kind)| kind), rows: vec![headings] }
    }

    pub fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// The table's text in lines of at most so many columns, as long as no single cell is longer.
    pub fn text(&self, most: Option<usize>) -> String {
        let mut widths = self.widths();
        if let Some(most) = most {
            self.narrow(&mut widths, most);
        }
        let lines = lines(&widths, most.unwrap_or(usize::MAX));
        let mut text = String::new();
        for row in &self.rows {
            for line in &lines {
                text += &" ".repeat(indent(line));
                let cells = line.clone().map(|column| self.cell(row, column, widths[column]));
                text += cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end();
                text.push('\n');
            }
        }
        text
    }

    fn widths(&self) -> [usize; N] {
        std::array::from_fn(|column| {
            self.rows.iter().map(|row| width(&row[column])).max().unwrap_or_default()
        })
    }

    /// Takes from the widest names what is too much for one line.
    fn narrow(&self, widths: &mut [usize; N], most: usize) {
        let all = |widths: &[usize; N]| widths.iter().sum::<usize>() + GAP * (N - 1);
        while all(widths) > most {
            let names = (0..N).filter(|&column| self.kinds[column] == Kind::Name);
            let widest = names.max_by_key(|&column| widths[column]);
            match widest.map(|column| &mut widths[column]) {
                Some(width) if *width > SHORTEST_NAME => *width -= 1,
                _ => break,
            }
        }
    }

    fn cell(&self, row: &[String; N], column: usize, columns: usize) -> String {
        let text = shortened(&row[column], columns);
        let space = " ".repeat(columns.saturating_sub(width(&text)));
        match self.kinds[column] {
            Kind::Number => space + &text,
            Kind::Name | Kind::Text => text + &space,
        }
    }
}

/// The columns of each line of a row.
fn lines(widths: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut line = 0..0;
    let mut taken = 0usize;
    for (column, width) in widths.iter().enumerate() {
        if !line.is_empty() && taken + GAP + width > most {
            lines.push(line);
            line = column..column;
        }
        taken = match line.is_empty() {
            true => indent(&line) + width,
            false => taken + GAP + width,
        };
        line.end = column + 1;
    }
    lines.push(line);
    lines
}

fn indent(line: &Range<usize>) -> usize {
    if line.start == 0 { 0 } else { INDENT }
}

/// Columns that there are to print in: `COLUMNS`, else those of the terminal, else any number.
pub fn columns() -> Option<usize> {
    let told = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let measured = || {
        let (_, columns) = Term::stdout().size_checked().filter(|_| stdout().is_terminal())?;
        Some(columns.into())
    };
    told.or_else(measured).filter(|&columns| columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<4> {
        let mut table = Table::new([
            ("layer", Kind::Name),
            ("type", Kind::Text),
            ("W", Kind::Text),
            ("parameters", Kind::Number),
        ]);
        for (name, parameters) in [("a", "1,456"), ("backbone.layer1.block0.conv1", "7")] {
            table.push([name, "DO-Conv", "[2, 3, 6]", parameters].map(str::to_owned));
        }
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            table().text(None),
            "\
layer                         type     W          parameters
a                             DO-Conv  [2, 3, 6]       1,456
backbone.layer1.block0.conv1  DO-Conv  [2, 3, 6]           7
"
        );
        assert_eq!(table().text(Some(60)), table().text(None));
    }

    #[test]
    fn names_are_cut_where_there_is_no_room() {
        assert_eq!(
            table().text(Some(50)),
            "\
layer               type     W          parameters
a                   DO-Conv  [2, 3, 6]       1,456
backbone.…k0.conv1  DO-Conv  [2, 3, 6]           7
"
        );
    }

    #[test]
    fn rows_take_several_lines_where_names_are_short_already() {
        assert_eq!(
            table().text(Some(38)),
            "\
layer             type     W
    parameters
a                 DO-Conv  [2, 3, 6]
         1,456
backbone…0.conv1  DO-Conv  [2, 3, 6]
             7
"
        );
        let narrow = table().text(Some(1));
        assert_eq!(narrow.lines().count(), 4 * 3, "{narrow}");
    }
}
