//! Markdown tables.

/// A column: its heading, and a cell for each row that has one.
pub struct Column {
    heading: String,
    cells: Vec<Option<String>>,
    /// The geometric mean.
    mean: Option<String>,
}

impl Column {
    /// Numbers with so many decimals.
    pub fn new(heading: impl Into<String>, decimals: usize, values: Vec<Option<f64>>) -> Self {
        let cell = |value: f64| format!("{value:.decimals$}");
        Self {
            heading: heading.into(),
            cells: values.iter().map(|value| value.map(cell)).collect(),
            mean: geometric_mean(&values).map(cell),
        }
    }

    /// Words, which have no mean.
    pub fn words(heading: impl Into<String>, cells: Vec<Option<String>>) -> Self {
        Self { heading: heading.into(), cells, mean: None }
    }
}

/// Prints a table: rows are named in the first column, and columns without any value are left out.
/// With `means` there is a last row of geometric means.
pub fn print(title: &str, names: &[String], columns: &[Column], means: bool) {
    let columns = columns.iter().filter(|column| column.cells.iter().any(Option::is_some));
    let mut first = vec![title.to_owned()];
    first.extend_from_slice(names);
    first.extend(means.then(|| "geometric mean".to_owned()));
    let mut cells = vec![first];
    for column in columns {
        let mean = means.then_some(&column.mean);
        let rest = column.cells.iter().chain(mean);
        let rest = rest.map(|cell| cell.clone().unwrap_or_else(|| "–".to_owned()));
        cells.push([column.heading.clone()].into_iter().chain(rest).collect());
    }
    print_cells(&cells);
}

fn print_cells(columns: &[Vec<String>]) {
    let width = |column: &Vec<String>| column.iter().map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = columns.iter().filter_map(width).collect();
    for row in 0..columns[0].len() {
        for (index, (column, width)) in columns.iter().zip(&widths).enumerate() {
            match index {
                0 => print!("| {:<width$} |", column[row]),
                _ => print!(" {:>width$} |", column[row]),
            }
        }
        println!();
        if row == 0 {
            for (index, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(*width);
                match index {
                    0 => print!("| {dashes} |"),
                    _ => print!(" {}: |", &dashes[1..]),
                }
            }
            println!();
        }
    }
    println!();
}

fn geometric_mean(values: &[Option<f64>]) -> Option<f64> {
    let logarithms: Vec<f64> = values.iter().flatten().map(|value| value.ln()).collect();
    let count = logarithms.len() as f64;
    (count > 0.0).then(|| (logarithms.iter().sum::<f64>() / count).exp())
}
