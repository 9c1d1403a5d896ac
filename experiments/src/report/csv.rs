//! The numbers as CSV, for other programs. Percentages, seconds and bytes; what isn't known is empty.

use std::error::Error;

use crate::record::{Epoch, RunConfig, RunResult, name};
use crate::report::cells::{Cell, first_metric, last_loss};
use crate::report::labels::labels;
use crate::report::stats::{Difference, mean, standard_deviation};

/// Columns' names and one row's values.
type Row = Vec<(&'static str, String)>;

/// One row a run.
///
/// # Errors
/// The CSV writer's.
pub fn runs(runs: &[RunResult]) -> Result<String, Box<dyn Error>> {
    csv(runs.iter().map(|run| {
        let mut row = seeded(&run.config);
        row.extend([
            ("metric", run.metric.to_string()),
            ("folded_metric", run.folded_metric.to_string()),
            ("other_bits", run.other_bits.to_string()),
        ]);
        row.extend(sizes(run));
        row.extend([
            ("peak_bytes", run.peak_bytes.to_string()),
            ("threads", run.threads.to_string()),
            ("instruction_set", run.instruction_set.clone()),
        ]);
        row
    }))
}

/// One row an epoch of a run.
///
/// # Errors
/// The CSV writer's.
pub fn epochs(runs: &[RunResult]) -> Result<String, Box<dyn Error>> {
    csv(runs.iter().flat_map(|run| {
        let start = seeded(&run.config);
        run.epochs.iter().map(move |epoch| {
            let Epoch { epoch, train_loss, train_metric, test_loss, test_metric, seconds } = epoch;
            let mut row = start.clone();
            row.extend([
                ("epoch", epoch.to_string()),
                ("train_loss", train_loss.to_string()),
                ("train_metric", train_metric.to_string()),
                ("test_loss", test_loss.to_string()),
                ("test_metric", test_metric.to_string()),
                ("seconds", seconds.to_string()),
            ]);
            row
        })
    }))
}

/// One row a cell. Diverged runs are counted among the seeds, and in no mean.
///
/// # Errors
/// The CSV writer's.
pub fn summary(cells: &[Cell]) -> Result<String, Box<dyn Error>> {
    let rows = labels(cells).into_iter().zip(cells).map(|(label, cell)| {
        let mut row = vec![("label", label)];
        row.extend(shared(&cell.config));
        row.extend(metrics(cell));
        row.extend(differences(cell, cells));
        row.extend([
            ("first_metric_mean", optional(mean(&cell.values(first_metric)))),
            ("last_train_loss_mean", optional(mean(&cell.values(last_loss)))),
            ("seconds_per_epoch", optional(cell.seconds_per_epoch())),
            ("peak_bytes", optional(cell.peak_bytes())),
        ]);
        row.extend(cell.runs.first().map(|run| sizes(run)).into_iter().flatten());
        row
    });
    csv(rows)
}

fn metrics(cell: &Cell) -> Row {
    let metrics = cell.values(|run| run.metric);
    let folded = cell.values(|run| run.folded_metric);
    vec![
        ("seeds", cell.runs.len().to_string()),
        ("diverged", cell.diverged().to_string()),
        ("metric_mean", optional(mean(&metrics))),
        ("metric_sd", optional(standard_deviation(&metrics))),
        ("folded_metric_mean", optional(mean(&folded))),
        ("other_bits", cell.other_bits().to_string()),
    ]
}

fn differences(cell: &Cell, cells: &[Cell]) -> Row {
    let to = |other: Option<&Cell>| cell.ahead_of(other?, |run| run.metric);
    let of_plain = ["plain_pairs", "plain_difference", "plain_low", "plain_high"];
    let of_default = ["default_pairs", "default_difference", "default_low", "default_high"];
    let mut row = difference(of_plain, to(cell.baseline(cells)));
    row.extend(difference(of_default, to(cell.default_options(cells))));
    row
}

fn difference(columns: [&'static str; 4], found: Option<Difference>) -> Row {
    let (low, high) = found.and_then(|found| found.interval).unzip();
    let values = [
        optional(found.map(|found| found.pairs)),
        optional(found.map(|found| found.mean)),
        optional(low),
        optional(high),
    ];
    columns.into_iter().zip(values).collect()
}

fn sizes(run: &RunResult) -> [(&'static str, String); 4] {
    [
        ("parameters", run.parameters.to_string()),
        ("folded_parameters", run.folded_parameters.to_string()),
        ("maccs", run.maccs.to_string()),
        ("folded_maccs", run.folded_maccs.to_string()),
    ]
}

fn seeded(config: &RunConfig) -> Row {
    let mut row = shared(config);
    row.push(("seed", config.seed.to_string()));
    row
}

/// All but the seed; `images` is empty where all are used.
fn shared(config: &RunConfig) -> Row {
    vec![
        ("data", config.data.clone()),
        ("task", name(&config.task)),
        ("net", name(&config.net)),
        ("kind", name(&config.kind)),
        ("d_mul", config.d_mul.to_string()),
        ("d_init", name(&config.d_init)),
        ("decay_offset", config.decay_offset.to_string()),
        ("replaced", name(&config.replaced)),
        ("algorithm", config.algorithm.clone()),
        ("learning_rate", config.learning_rate.to_string()),
        ("schedule", name(&config.schedule)),
        ("weight_decay", config.weight_decay.to_string()),
        ("batch", config.batch.to_string()),
        ("epochs", config.epochs.to_string()),
        ("images", optional(config.images)),
        ("blocks", config.blocks.to_string()),
    ]
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn csv(rows: impl Iterator<Item = Row>) -> Result<String, Box<dyn Error>> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for (row, first) in rows.zip([true].into_iter().chain(std::iter::repeat(false))) {
        if first {
            writer.write_record(row.iter().map(|(column, _)| column))?;
        }
        writer.write_record(row.iter().map(|(_, value)| value))?;
    }
    let bytes = writer.into_inner().map_err(::csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::cells::group;
    use crate::report::sample::{config, diverged, do_conv, run};

    type Table = Vec<BTreeMap<String, String>>;

    fn parsed(text: &str) -> Result<Table, Box<dyn Error>> {
        Ok(::csv::Reader::from_reader(text.as_bytes()).deserialize().collect::<Result<_, _>>()?)
    }

    fn two_cells() -> Vec<RunResult> {
        let plain =
            [(1, 70.0), (2, 71.0), (3, 72.0)].map(|(seed, top)| run(&config(), seed, &[20.0, top]));
        let own = [(1, 71.0), (2, 73.0)].map(|(seed, top)| run(&do_conv(), seed, &[30.0, top]));
        let lost = RunConfig { epochs: 2, ..do_conv() };
        plain
            .into_iter()
            .chain(own)
            .chain([diverged(&lost, 3)].map(|mut run| {
                run.config.epochs = 2;
                run
            }))
            .collect()
    }

    /// A field that is added to a record needs a column.
    #[test]
    fn every_field_is_a_column() -> Result<(), Box<dyn Error>> {
        let run = run(&config(), 1, &[70.0]);
        let fields = |value: serde_json::Value| -> Vec<String> {
            value.as_object().into_iter().flatten().map(|(field, _)| field.clone()).collect()
        };
        let mut of_run = fields(serde_json::to_value(&run)?);
        of_run.retain(|field| field != "config" && field != "epochs");
        let of_config = fields(serde_json::to_value(&run.config)?);
        let of_epoch = fields(serde_json::to_value(run.epochs[0])?);

        let runs = [run];
        for (text, expected) in [(super::runs(&runs)?, of_run), (epochs(&runs)?, of_epoch)] {
            let row = parsed(&text)?.pop().ok_or("no row")?;
            for field in expected.iter().chain(&of_config) {
                assert!(row.contains_key(field), "{field}");
            }
        }
        Ok(())
    }

    #[test]
    fn runs_and_epochs() -> Result<(), Box<dyn Error>> {
        let all = two_cells();
        let table = parsed(&super::runs(&all)?)?;
        assert_eq!(table.len(), 6);
        assert_eq!((table[4]["seed"].as_str(), table[4]["metric"].as_str()), ("2", "73"));

        let table = parsed(&epochs(&all)?)?;
        assert_eq!(table.len(), 5 * 2 + 3);
        assert_eq!((table[12]["epoch"].as_str(), table[12]["train_loss"].as_str()), ("3", "NaN"));
        Ok(())
    }

    #[test]
    fn cells_are_summed_up() -> Result<(), Box<dyn Error>> {
        let table = parsed(&summary(&group(&two_cells()))?)?;
        assert_eq!(table.len(), 2);
        let found = |column: &str| (table[0][column].as_str(), table[1][column].as_str());
        assert_eq!(found("label"), ("plain", "do-conv"));
        assert_eq!(found("seeds"), ("3", "3"));
        assert_eq!(found("diverged"), ("0", "1"));
        assert_eq!(found("metric_mean"), ("71", "72"));
        assert_eq!(found("plain_pairs"), ("", "2"));
        assert_eq!(found("plain_difference"), ("", "1.5"));
        assert_eq!(found("default_difference"), ("", ""));
        Ok(())
    }
}
