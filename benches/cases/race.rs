//! Timing contenders in turn, for ratios of two libraries.

mod turns;

use std::time::{Duration, Instant};

use turns::{in_turn, median};

/// What the command line asks for.
pub struct Plan {
    /// How many turns each contender has.
    pub rounds: usize,
    /// How long a turn is, about; it has at least one call.
    pub turn: Duration,
}

impl Plan {
    /// `--rounds N`, 9 by default; `--test` for one short round that only shows that all works.
    pub fn from_arguments() -> Result<Self, String> {
        let mut plan = Self { rounds: 9, turn: Duration::from_millis(150) };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--test" => plan = Self { rounds: 1, turn: Duration::ZERO },
                "--rounds" => {
                    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
                    plan.rounds = rounds
                        .filter(|&rounds| rounds > 0)
                        .ok_or("--rounds: expected a positive number")?;
                }
                // Cargo says so of itself.
                "--bench" => {}
                other => return Err(format!("expected --rounds N or --test, got {other}")),
            }
        }
        Ok(plan)
    }

    /// The median time in milliseconds of a call of each contender.
    pub fn race<E, const N: usize>(
        &self,
        mut contenders: [Box<dyn FnMut() -> Result<(), E> + '_>; N],
    ) -> Result<[f64; N], E> {
        let medians = in_turn(self.rounds, &mut contenders, |call| {
            // Not timed: those before have filled the caches, and their threads fall asleep.
            call()?;
            let turn = Instant::now();
            let mut times = Vec::new();
            while times.is_empty() || turn.elapsed() < self.turn {
                let start = Instant::now();
                call()?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            Ok(median(times))
        });
        medians.map(|medians| std::array::from_fn(|contender| medians[contender]))
    }
}

/// A row of a Markdown table for each layer, and one of geometric means.
pub fn table(header: &[&str], rows: &[(String, Vec<f64>)]) -> String {
    let mut lines = vec![
        format!("| {} |", header.join(" | ")),
        format!("| --- {}|", "| --: ".repeat(header.len() - 1)),
    ];
    let means = (0..header.len() - 1).map(|column| {
        let logarithms: f64 = rows.iter().map(|(_, row)| row[column].ln()).sum();
        (logarithms / rows.len() as f64).exp()
    });
    let means = ("geometric mean".to_owned(), means.collect());
    for (name, row) in rows.iter().chain([&means]) {
        let cells: Vec<_> = row.iter().map(|cell| format!("{cell:.2}")).collect();
        lines.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    lines.join("\n")
}
