//! Cells: the runs that differ by nothing but the seed.

use crate::record::{Kind, NetKind, RunConfig, RunResult};
use crate::report::labels::what_differs;
use crate::report::stats::{Difference, mean, median};

/// All runs that differ by the seed alone.
#[derive(Clone, Debug)]
pub struct Cell<'a> {
    /// What they have in common: seed 0, and each option that the kind doesn't have by its default.
    pub config: RunConfig,
    /// One for each seed, by ascending seeds.
    pub runs: Vec<&'a RunResult>,
}

impl<'a> Cell<'a> {
    /// The runs whose loss and metrics are finite throughout. Means are over these alone.
    pub fn finished(&self) -> impl Iterator<Item = &'a RunResult> {
        self.runs.iter().copied().filter(|run| !diverged(run))
    }

    /// How many aren't.
    pub fn diverged(&self) -> usize {
        self.runs.len() - self.finished().count()
    }

    /// A number of each finished run, by seed, where it is finite.
    pub fn by_seed(&self, number: impl Fn(&RunResult) -> f64) -> Vec<(u64, f64)> {
        let of = |run: &RunResult| (run.config.seed, number(run));
        self.finished().map(of).filter(|(_, value)| value.is_finite()).collect()
    }

    /// The same without the seeds.
    pub fn values(&self, number: impl Fn(&RunResult) -> f64) -> Vec<f64> {
        self.by_seed(number).into_iter().map(|(_, value)| value).collect()
    }

    /// By how much a number is larger than another cell's, over common seeds.
    pub fn ahead_of(&self, other: &Cell, number: impl Fn(&RunResult) -> f64) -> Option<Difference> {
        Difference::paired(&self.by_seed(&number), &other.by_seed(&number))
    }

    /// Training alone: the median over the epochs of all runs.
    pub fn seconds_per_epoch(&self) -> Option<f64> {
        let epochs = self.runs.iter().flat_map(|run| &run.epochs);
        median(&epochs.map(|epoch| epoch.seconds).collect::<Vec<_>>())
    }

    /// The largest of all runs.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.runs.iter().map(|run| run.peak_bytes).max()
    }

    /// How many test outputs of its finished runs have other bits after the fold.
    pub fn other_bits(&self) -> u64 {
        self.finished().map(|run| run.other_bits).sum()
    }

    /// What the cell is compared with: all the same, but plain. None of a plain one, or where it wasn't run.
    pub fn baseline<'c>(&self, cells: &'c [Cell<'a>]) -> Option<&'c Cell<'a>> {
        self.but_for(self.config.as_plain(), cells)
    }

    /// The DO-Conv cell with the options' defaults. None of that cell itself and of other kinds.
    pub fn default_options<'c>(&self, cells: &'c [Cell<'a>]) -> Option<&'c Cell<'a>> {
        let is_do_conv = self.config.kind == Kind::DoConv;
        self.but_for(self.config.as_standard_do_conv(), cells).filter(|_| is_do_conv)
    }

    fn but_for<'c>(&self, config: RunConfig, cells: &'c [Cell<'a>]) -> Option<&'c Cell<'a>> {
        cells.iter().find(|cell| cell.config == config && cell.config != self.config)
    }
}

/// The cells by their first run's place. A second run of the same seed replaces the first.
pub fn group(runs: &[RunResult]) -> Vec<Cell<'_>> {
    let mut cells: Vec<Cell> = Vec::new();
    for run in runs {
        let config = common(&run.config);
        match cells.iter_mut().find(|cell| cell.config == config) {
            None => cells.push(Cell { config, runs: vec![run] }),
            Some(cell) => {
                match cell.runs.binary_search_by_key(&run.config.seed, |run| run.config.seed) {
                    Ok(at) => cell.runs[at] = run,
                    Err(at) => cell.runs.insert(at, run),
                }
            }
        }
    }
    cells
}

/// Cells with the same key, by their first cell's place.
pub fn split<'a, K: PartialEq>(
    cells: &[Cell<'a>],
    key: impl Fn(&Cell) -> K,
) -> Vec<(K, Vec<Cell<'a>>)> {
    let mut groups: Vec<(K, Vec<Cell>)> = Vec::new();
    for cell in cells {
        let key = key(cell);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            None => groups.push((key, vec![cell.clone()])),
            Some((_, group)) => group.push(cell.clone()),
        }
    }
    groups
}

/// Cells with the same baseline, and what sets them apart from the other groups: empty if there is one group.
pub fn by_baseline<'a>(cells: &[Cell<'a>]) -> Vec<(String, Vec<Cell<'a>>)> {
    let groups = split(cells, |cell| cell.config.as_plain());
    let configs: Vec<_> = groups.iter().map(|(config, _)| config).collect();
    let titles = what_differs(&configs);
    titles.into_iter().zip(groups).map(|(title, (_, cells))| (title, cells)).collect()
}

/// The means over several nets of one kind of layer, and of the plain ones that they are compared with, by seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The kind.
    pub kind: Kind,
    /// How many nets that are.
    pub nets: usize,
    /// Its means, by the seeds that all nets have of both kinds.
    pub own: Vec<(u64, f64)>,
    /// Plain's.
    pub plain: Vec<(u64, f64)>,
}

/// Each kind of layer that is compared with plain ones in several nets, with its options' defaults, and with all other
/// options the same.
pub fn pools(cells: &[Cell], number: impl Fn(&RunResult) -> f64) -> Vec<Pool> {
    let but_for_the_net = |cell: &Cell| RunConfig { net: NetKind::Plain, ..cell.config.as_plain() };
    let alike = split(cells, but_for_the_net);
    let kinds = [Kind::DoConv, Kind::Separable];
    let pools = alike.iter().flat_map(|(_, cells)| kinds.map(|kind| pool(cells, kind, &number)));
    pools.flatten().collect()
}

fn pool(cells: &[Cell], kind: Kind, number: &impl Fn(&RunResult) -> f64) -> Option<Pool> {
    let is_default = |cell: &&Cell| cell.config == RunConfig { kind, ..cell.config.as_plain() };
    let pairs: Vec<_> = cells
        .iter()
        .filter(is_default)
        .filter_map(|cell| Some((cell.by_seed(number), cell.baseline(cells)?.by_seed(number))))
        .collect();
    let of_seed = |values: &[(u64, f64)], seed| {
        values.iter().find(|(other, _)| *other == seed).map(|(_, value)| *value)
    };
    let (mut own, mut plain) = (Vec::new(), Vec::new());
    for &(seed, _) in &pairs.first().filter(|_| pairs.len() > 1)?.0 {
        let values: Option<Vec<_>> = pairs
            .iter()
            .map(|(own, plain)| Some((of_seed(own, seed)?, of_seed(plain, seed)?)))
            .collect();
        let Some(values) = values else { continue };
        let (of_own, of_plain): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        own.push((seed, mean(&of_own)?));
        plain.push((seed, mean(&of_plain)?));
    }
    (!own.is_empty()).then_some(Pool { kind, nets: pairs.len(), own, plain })
}

/// The test metric after the first epoch; NaN without one.
pub fn first_metric(run: &RunResult) -> f64 {
    run.epochs.first().map_or(f64::NAN, |epoch| epoch.test_metric)
}

/// The training loss of the last epoch; NaN without one.
pub fn last_loss(run: &RunResult) -> f64 {
    run.epochs.last().map_or(f64::NAN, |epoch| epoch.train_loss)
}

/// A network that gets lost may still name some class for each image, but its loss isn't finite.
fn diverged(run: &RunResult) -> bool {
    let metrics = [run.metric, run.folded_metric];
    let losses = run.epochs.iter().flat_map(|epoch| [epoch.train_loss, epoch.test_loss]);
    !losses.chain(metrics).all(f64::is_finite)
}

/// What runs of a cell have in common.
fn common(config: &RunConfig) -> RunConfig {
    RunConfig { seed: 0, ..config.clone() }.simplified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DMul, DStart, Replaced};
    use crate::report::labels::labels;
    use crate::report::sample::{self, config, do_conv, run};

    #[test]
    fn seeds_make_a_cell() {
        let runs = [
            run(&do_conv(), 3, &[50.0]),
            run(&config(), 1, &[49.0]),
            run(&do_conv(), 1, &[51.0]),
            run(&do_conv(), 3, &[52.0]),
        ];
        let cells = group(&runs);
        assert_eq!(labels(&cells), ["do-conv", "plain"]);
        assert_eq!(cells[0].by_seed(|run| run.metric), [(1, 51.0), (3, 52.0)]);
        assert_eq!(cells[1].values(|run| run.metric), [49.0]);
    }

    #[test]
    fn options_that_a_kind_lacks_make_no_cell() {
        let labels_of = |configs: &[RunConfig]| {
            let runs: Vec<_> = configs.iter().map(|config| run(config, 1, &[50.0])).collect();
            labels(&group(&runs))
        };
        let same = RunConfig { d_mul: DMul::Plus(4), replaced: Replaced::Stem, ..config() };
        assert_eq!(labels_of(&[config(), same]), ["plain"]);
        let same = RunConfig { d_mul: DMul::Plus(0), ..do_conv() };
        assert_eq!(labels_of(&[do_conv(), same]), ["do-conv"]);
    }

    #[test]
    fn what_cells_are_compared_with() {
        let random = RunConfig { d_init: DStart::Random, replaced: Replaced::Stem, ..do_conv() };
        let other = RunConfig { batch: 32, ..do_conv() };
        let runs = [random, config(), do_conv(), other].map(|config| run(&config, 1, &[50.0]));
        let cells = group(&runs);
        let place = |found: Option<&Cell>| {
            cells.iter().position(|cell| found.is_some_and(|found| found.config == cell.config))
        };
        let baselines: Vec<_> = cells.iter().map(|cell| place(cell.baseline(&cells))).collect();
        assert_eq!(baselines, [Some(1), None, Some(1), None]);
        let defaults: Vec<_> =
            cells.iter().map(|cell| place(cell.default_options(&cells))).collect();
        assert_eq!(defaults, [Some(2), None, None, None]);

        let groups = by_baseline(&cells);
        let found: Vec<_> =
            groups.iter().map(|(title, cells)| (title.as_str(), cells.len())).collect();
        assert_eq!(found, [("batch 64", 3), ("batch 32", 1)]);
    }

    #[test]
    fn diverged_runs_are_left_out_and_counted() {
        let runs = [sample::diverged(&config(), 1), run(&config(), 2, &[50.0, 60.0, 70.0])];
        let cells = group(&runs);
        assert_eq!((cells.len(), cells[0].diverged()), (1, 1));
        assert_eq!(cells[0].by_seed(|run| run.metric), [(2, 70.0)]);
        assert_eq!(
            cells[0].ahead_of(&cells[0], |run| run.metric).map(|found| found.pairs),
            Some(1)
        );
    }

    #[test]
    fn nets_are_pooled_over_the_seeds_that_all_have() {
        let other = |config: RunConfig| RunConfig { net: NetKind::Plain, ..config };
        let runs = [
            run(&config(), 1, &[50.0]),
            run(&config(), 2, &[52.0]),
            run(&do_conv(), 1, &[53.0]),
            run(&do_conv(), 2, &[54.0]),
            run(&other(config()), 1, &[60.0]),
            run(&other(do_conv()), 1, &[61.0]),
            run(&other(do_conv()), 2, &[62.0]),
        ];
        let metric = |run: &RunResult| run.metric;
        let expected =
            Pool { kind: Kind::DoConv, nets: 2, own: vec![(1, 57.0)], plain: vec![(1, 55.0)] };
        assert_eq!(pools(&group(&runs), metric), [expected]);
        assert_eq!(pools(&group(&runs[..4]), metric), []);
        // Nets that were trained otherwise aren't pooled.
        let slow = runs.clone().map(|mut run| {
            if run.config.net == NetKind::Plain {
                run.config.learning_rate = 0.01;
            }
            run
        });
        assert_eq!(pools(&group(&slow), metric), []);
        // Other options than the defaults are no further net.
        let random = RunConfig { d_init: DStart::Random, ..do_conv() };
        let runs = [config(), do_conv(), random].map(|config| run(&config, 1, &[50.0]));
        assert_eq!(pools(&group(&runs), metric), []);
    }
}
