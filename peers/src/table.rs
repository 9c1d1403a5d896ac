//! Markdown tables of numbers.

/// A column: its heading, how many decimals it has, and a value for each row that has one.
pub struct Column {
    pub heading: String,
    pub decimals: usize,
    pub values: Vec<Option<f64>>,
}

impl Column {
    pub fn new(heading: impl Into<String>, decimals: usize, values: Vec<Option<f64>>) -> Self {
        Self { heading: heading.into(), decimals, values }
    }

    fn cell(&self, value: Option<f64>) -> String {
        value.map_or("–".to_owned(), |value| format!("{value:.*}", self.decimals))
    }
}

/// Prints a table: rows are named in the first column, and columns without any value are left out.
/// With `means` there is a last row of geometric means.
pub fn print(title: &str, names: &[String], columns: &[Column], means: bool) {
    let columns = columns.iter().filter(|column| column.values.iter().any(Option::is_some));
    let mut first = vec![title.to_owned()];
    first.extend_from_slice(names);
    first.extend(means.then(|| "geometric mean".to_owned()));
    let mut cells = vec![first];
    for column in columns {
        let mut numbers = vec![column.heading.clone()];
        numbers.extend(column.values.iter().map(|&value| column.cell(value)));
        numbers.extend(means.then(|| column.cell(geometric_mean(&column.values))));
        cells.push(numbers);
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
