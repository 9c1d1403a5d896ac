//! The numbers as Markdown tables.

use crate::record::{RunResult, name};
use crate::report::cells::{Cell, Pool, by_baseline, first_metric, last_loss, pools};
use crate::report::labels::labels;
use crate::report::stats::{Difference, first_reaching, mean, standard_deviation};

const NONE: &str = "–";

/// Of the way from plain's mean after the first epoch to its last one, which are the levels.
const SHARES: [f64; 3] = [0.5, 0.8, 0.95];

/// The metric in training's form and after the fold, and how far it is from what it is compared with.
pub fn accuracy(cells: &[Cell]) -> String {
    let options = cells.iter().any(|cell| cell.default_options(cells).is_some());
    let metric = format!("{}, %", metric_name(cells));
    let mut columns =
        vec!["configuration", "seeds", &metric, "after the fold", "difference to plain"];
    columns.extend(options.then_some("difference to default DO-Conv"));

    let row = |(label, cell): (String, &Cell)| {
        let to = |other: Option<&Cell>| {
            difference(cell, other.and_then(|other| cell.ahead_of(other, |run| run.metric)))
        };
        let metric = spread(&cell.values(|run| run.metric), 2);
        let mut row =
            vec![label, seeds(cell), metric, after_the_fold(cell), to(cell.baseline(cells))];
        row.extend(options.then(|| to(cell.default_options(cells))));
        row
    };
    let pooled = |Pool { kind, nets, own, plain }: Pool| {
        let found = Difference::paired(&own, &plain);
        let (seeds, values) = (own.len(), own.into_iter().map(|(_, value)| value));
        let metric = spread(&values.collect::<Vec<_>>(), 2);
        let label = format!("mean of {nets} nets, {}", name(&kind));
        let mut row = vec![label, seeds.to_string(), metric, NONE.into()];
        row.push(found.map_or(NONE.into(), |found| shown(found, seeds)));
        row.extend(options.then(|| NONE.into()));
        row
    };
    let rows = labels(cells).into_iter().zip(cells).map(row);
    markdown(&columns, rows.chain(pools(cells, |run| run.metric).into_iter().map(pooled)))
}

/// Time, memory, parameters and multiply-accumulates.
pub fn cost(cells: &[Cell]) -> String {
    let columns = [
        "configuration",
        "threads",
        "seconds per epoch",
        "peak memory, MB",
        "parameters in training",
        "folded",
        "MACCs of an image, unfolded",
        "folded",
    ];
    let row = |(label, cell): (String, &Cell)| {
        let size = |of: fn(&RunResult) -> u64| or_none(cell.runs.first().map(|run| human(of(run))));
        vec![
            label,
            threads(cell),
            or_none(cell.seconds_per_epoch().map(|seconds| format!("{seconds:.2}"))),
            or_none(cell.peak_bytes().map(|bytes| format!("{:.1}", bytes as f64 / 1e6))),
            size(|run| run.parameters),
            size(|run| run.folded_parameters),
            size(|run| run.maccs),
            size(|run| run.folded_maccs),
        ]
    };
    markdown(&columns, labels(cells).into_iter().zip(cells).map(row))
}

/// How fast nets learn: a table for each baseline and what is compared with it.
pub fn dynamics(cells: &[Cell]) -> String {
    let table = |(title, cells): (String, Vec<Cell>)| {
        let title = if title.is_empty() { title } else { format!("**{title}**\n\n") };
        title + &group_dynamics(&cells)
    };
    by_baseline(cells).into_iter().map(table).collect::<Vec<_>>().join("\n")
}

fn group_dynamics(cells: &[Cell]) -> String {
    let levels = levels(cells);
    let reached: Vec<_> = levels.iter().map(|level| format!("epochs to {level:.2} %")).collect();
    let metric = format!("{} after epoch 1, %", metric_name(cells));
    let mut columns = vec!["configuration", &metric, "difference to plain"];
    columns.extend(reached.iter().map(String::as_str));
    columns.push("last training loss");

    let row = |(label, cell): (String, &Cell)| {
        let to_plain = cell.baseline(cells).and_then(|plain| cell.ahead_of(plain, first_metric));
        let mut row =
            vec![label, spread(&cell.values(first_metric), 2), difference(cell, to_plain)];
        row.extend(levels.iter().map(|&level| epochs_to(cell, level)));
        row.push(spread(&cell.values(last_loss), 4));
        row
    };
    markdown(&columns, labels(cells).into_iter().zip(cells).map(row))
}

/// By the plain cell, or the first where there is none; none if that doesn't get better.
fn levels(cells: &[Cell]) -> Vec<f64> {
    let plain = cells.iter().find_map(|cell| cell.baseline(cells)).or(cells.first());
    let ends = plain.and_then(|plain| {
        mean(&plain.values(first_metric)).zip(mean(&plain.values(|run| run.metric)))
    });
    let between = |(start, end): (f64, f64)| SHARES.map(|share| start + share * (end - start));
    ends.filter(|(start, end)| start < end).map(between).into_iter().flatten().collect()
}

/// The mean over the runs that reached it, and how many did where some didn't.
fn epochs_to(cell: &Cell, level: f64) -> String {
    let runs = cell.finished().count();
    let epochs: Vec<f64> = cell
        .finished()
        .filter_map(|run| Some(first_reaching(&run.epochs, level)? as f64))
        .collect();
    let mean = or_none(mean(&epochs).map(|mean| format!("{mean:.1}")));
    if epochs.len() == runs { mean } else { format!("{mean} ({} of {runs})", epochs.len()) }
}

fn metric_name(cells: &[Cell]) -> &'static str {
    let mut names = cells.iter().map(|cell| cell.config.task.metric());
    let first = names.next().unwrap_or("metric");
    if names.all(|name| name == first) { first } else { "metric" }
}

fn seeds(cell: &Cell) -> String {
    match cell.diverged() {
        0 => cell.runs.len().to_string(),
        diverged => format!("{} ({diverged} diverged)", cell.runs.len()),
    }
}

fn threads(cell: &Cell) -> String {
    let mut threads: Vec<_> = cell.runs.iter().map(|run| run.threads).collect();
    threads.sort_unstable();
    threads.dedup();
    threads.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

fn after_the_fold(cell: &Cell) -> String {
    let Some(mean) = mean(&cell.values(|run| run.folded_metric)) else { return NONE.into() };
    match cell.other_bits() {
        0 => format!("{mean:.2}, same bits"),
        1 => format!("{mean:.2}, 1 output differs"),
        outputs => format!("{mean:.2}, {outputs} outputs differ"),
    }
}

fn difference(cell: &Cell, found: Option<Difference>) -> String {
    found.map_or(NONE.into(), |found| shown(found, cell.runs.len()))
}

/// Bold where the interval excludes zero. The pairs are named where they aren't as many as the runs.
fn shown(found: Difference, runs: usize) -> String {
    let mean = signed(found.mean);
    let text = match found.interval {
        Some((low, high)) => format!("{mean} [{}, {}]", signed(low), signed(high)),
        None => mean,
    };
    let text = if found.excludes_zero() { format!("**{text}**") } else { text };
    match found.pairs {
        1 => format!("{text} (1 pair)"),
        pairs if pairs == runs => text,
        pairs => format!("{text} ({pairs} pairs)"),
    }
}

/// With its sign, which a rounded zero lacks.
fn signed(value: f64) -> String {
    let text = format!("{value:+.2}");
    if text == "-0.00" || text == "+0.00" { "0.00".into() } else { text }
}

fn spread(values: &[f64], digits: usize) -> String {
    let Some(mean) = mean(values) else { return NONE.into() };
    match standard_deviation(values) {
        Some(deviation) => format!("{mean:.digits$} ± {deviation:.digits$}"),
        None => format!("{mean:.digits$}"),
    }
}

/// `8_123_456` as `8.1 M`.
fn human(number: u64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What is rounded up to the next unit is written in it.
    let of = |(unit, _): &(f64, &str)| number as f64 >= 0.99995 * unit;
    match units.into_iter().find(of) {
        Some((unit, name)) => format!("{:.1} {name}", number as f64 / unit),
        None => number.to_string(),
    }
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| NONE.into())
}

fn markdown(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |values: &[String]| {
        let values: Vec<_> = values.iter().map(|value| value.replace('|', "\\|")).collect();
        format!("| {} |\n", values.join(" | "))
    };
    let header: Vec<_> = columns.iter().map(ToString::to_string).collect();
    let numbers = " ---: |".repeat(columns.len().saturating_sub(1));
    line(&header)
        + &format!("| :--- |{numbers}\n")
        + &rows.map(|row| line(&row)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DStart, Kind, NetKind, RunConfig, Task};
    use crate::report::cells::group;
    use crate::report::sample::{config, diverged, do_conv, run};

    fn random() -> RunConfig {
        RunConfig { d_init: DStart::Random, ..do_conv() }
    }

    /// The differences to plain are 1, 2, 3 with the interval 2 ± 4.303 / √3, and those of `random` -1, 1.
    fn three_cells() -> Vec<RunResult> {
        let seeds = |config: &RunConfig, tops: &[f64]| -> Vec<RunResult> {
            (1..).zip(tops).map(|(seed, &top)| run(config, seed, &[20.0, 60.0, top])).collect()
        };
        let mut runs = seeds(&config(), &[70.0, 71.0, 72.0]);
        runs.extend(seeds(&do_conv(), &[71.0, 73.0, 75.0]));
        runs.extend(seeds(&random(), &[69.0, 72.0]));
        runs.push(diverged(&random(), 3));
        runs[3].other_bits = 12;
        runs
    }

    #[test]
    fn accuracies() {
        let runs = three_cells();
        let expected = "\
| configuration | seeds | top-1, % | after the fold | difference to plain | difference to default DO-Conv |
| :--- | ---: | ---: | ---: | ---: | ---: |
| plain | 3 | 71.00 ± 1.00 | 71.00, same bits | – | – |
| do-conv, identity | 3 | 73.00 ± 2.00 | 73.00, 12 outputs differ | +2.00 [-0.48, +4.48] | – |
| do-conv, random | 3 (1 diverged) | 70.50 ± 2.12 | 70.50, same bits \
| 0.00 [-12.71, +12.71] (2 pairs) | -1.50 [-7.85, +4.85] (2 pairs) |
";
        assert_eq!(accuracy(&group(&runs)), expected);
        // Without other options there is no default to compare with.
        assert!(!accuracy(&group(&runs[..6])).contains("default"));
    }

    #[test]
    fn several_nets_have_a_mean() {
        let nets = [config(), RunConfig { net: NetKind::Plain, ..config() }];
        let runs: Vec<_> = nets
            .iter()
            .zip([1.0, 3.0])
            .flat_map(|(plain, ahead)| {
                let do_conv = RunConfig { kind: Kind::DoConv, ..plain.clone() };
                [run(plain, 1, &[70.0]), run(&do_conv, 1, &[70.0 + ahead])]
            })
            .collect();
        let expected = "| mean of 2 nets, do-conv | 1 | 72.00 | – | +2.00 (1 pair) |\n";
        assert!(accuracy(&group(&runs)).ends_with(expected));
    }

    #[test]
    fn differences_that_exclude_zero_are_bold() {
        let tops = [(1, 1.0), (2, 1.1), (3, 1.2)];
        let runs: Vec<_> = tops
            .into_iter()
            .flat_map(|(seed, ahead)| {
                [run(&config(), seed, &[70.0]), run(&do_conv(), seed, &[70.0 + ahead])]
            })
            .collect();
        assert!(accuracy(&group(&runs)).contains("| **+1.10 [+0.85, +1.35]** |"));
        assert!(accuracy(&group(&runs[..2])).contains("| +1.00 (1 pair) |"));
    }

    #[test]
    fn costs() {
        let mut runs = [run(&config(), 1, &[70.0]), run(&config(), 2, &[70.0])];
        (runs[1].threads, runs[1].peak_bytes) = (2, 200_000_000);
        let row = "| plain | 1, 2 | 10.00 | 200.0 | 78.3 k | 77.8 k | 8.1 M | 8.1 M |";
        assert_eq!(cost(&group(&runs)).lines().nth(2), Some(row));
        let numbers = [0, 999, 1000, 999_949, 999_950, 12_345_678_901];
        assert_eq!(numbers.map(human), ["0", "999", "1.0 k", "999.9 k", "1.0 M", "12.3 G"]);
    }

    #[test]
    fn levels_are_on_plains_way() {
        let expected = "\
| configuration | top-1 after epoch 1, % | difference to plain \
| epochs to 45.50 % | epochs to 60.80 % | epochs to 68.45 % | last training loss |
| :--- | ---: | ---: | ---: | ---: | ---: | ---: |
| plain | 20.00 ± 0.00 | – | 2.0 | 3.0 | 3.0 | 0.6667 ± 0.0000 |
| do-conv, identity | 20.00 ± 0.00 | 0.00 [0.00, 0.00] | 2.0 | 3.0 | 3.0 | 0.6667 ± 0.0000 |
| do-conv, random | 20.00 ± 0.00 | 0.00 [0.00, 0.00] (2 pairs) | 2.0 | 3.0 | 3.0 | 0.6667 ± 0.0000 |
";
        let runs = three_cells();
        assert_eq!(dynamics(&group(&runs)), expected);
    }

    #[test]
    fn each_net_has_its_levels() {
        let other = RunConfig { net: NetKind::Plain, task: Task::Segment, ..config() };
        let runs = [run(&config(), 1, &[50.0]), run(&other, 1, &[10.0, 20.0])];
        let found = dynamics(&group(&runs));
        assert!(found.contains("**classify, resnet-v1**\n\n| conf"));
        assert!(found.contains("|\n\n**segment, plain**\n\n| conf"));
        assert!(
            found.contains(
                "| mean IoU after epoch 1, % | difference to plain | epochs to 15.00 % |"
            )
        );
        assert!(found.contains("| difference to plain | last training loss |"));
    }

    #[test]
    fn nothing_but_diverged_runs_gives_dashes() {
        let found = group(&[diverged(&config(), 1)])
            .iter()
            .map(|cell| accuracy(std::slice::from_ref(cell)))
            .collect::<String>();
        assert!(found.contains("| plain | 1 (1 diverged) | – | – | – |"));
        assert_eq!(accuracy(&[]).lines().count(), 2);
    }
}
