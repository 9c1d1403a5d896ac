//! The peer tables: ours beside the others, layer by layer.

use anyhow::{Context, Result};
use do_conv::Algorithm;

use crate::contenders::{Field, Key, Peer, Task, Who, exact};
use crate::data::{self, Checksum, Element};
use crate::layers::Layer;
use crate::race::{Contender, Plan, race};
use crate::table::{self, Column};

/// What a column of a table shows.
#[derive(Clone, Copy)]
enum Show {
    /// The name of our fastest algorithm.
    Best(Task),
    /// The time of that, over that of another.
    BestRatio(Task, Key),
    Ratio(Key, Key),
    Milliseconds(Key),
    /// The largest rounding error.
    Error(Key),
}
use Show::{Best, BestRatio, Error, Milliseconds, Ratio};

/// What was measured of a contender.
struct Measured {
    key: Key,
    seconds: f64,
    error: Option<f64>,
}

fn ours(task: Task) -> [Key; 3] {
    Algorithm::ALL.map(|algorithm| (Who::Ours(algorithm), task))
}

fn direct(task: Task) -> Key {
    (Who::Ours(Algorithm::Direct), task)
}

fn torch(task: Task) -> Key {
    (Who::Peer(Peer::Torch), task)
}

/// Forward passes.
pub fn forward<T: Element>(layers: &[Layer], field: &Field, plan: &Plan) -> Result<()> {
    const TASK: Task = Task::Forward;
    let peers = [Peer::Torch, Peer::Rten, Peer::Burn, Peer::Candle];
    let peers = peers.map(|peer| (Who::Peer(peer), TASK));
    let keys: Vec<Key> = ours(TASK).into_iter().chain(peers).collect();
    let mut ratios = vec![Best(TASK)];
    ratios.extend(peers.map(|peer| BestRatio(TASK, peer)));
    ratios.extend(ours(TASK).map(|own| Ratio(own, torch(TASK))));
    ratios.extend(peers[1..].iter().map(|&peer| Ratio(direct(TASK), peer)));
    let times: Vec<Show> = keys.iter().flat_map(|&key| [Milliseconds(key), Error(key)]).collect();
    let tables = [("forward, ratios", &ratios[..]), ("forward, ms and largest error", &times)];
    compare::<T>(layers, &keys, &tables, field, plan)
}

/// Training steps: a forward pass and the gradients of all parameters and of the input.
pub fn training<T: Element>(layers: &[Layer], field: &Field, plan: &Plan) -> Result<()> {
    const PLAIN: Task = Task::Step;
    const DO: Task = Task::DoStep;
    let burn = (Who::Peer(Peer::Burn), PLAIN);
    let mut keys = Vec::new();
    keys.extend(ours(PLAIN).into_iter().chain(ours(DO)));
    keys.extend([torch(PLAIN), torch(DO), burn]);
    let mut ratios = vec![Best(DO), BestRatio(DO, torch(DO))];
    ratios.extend(ours(DO).map(|own| Ratio(own, torch(DO))));
    ratios.extend([Best(PLAIN), BestRatio(PLAIN, torch(PLAIN))]);
    ratios.extend(ours(PLAIN).map(|own| Ratio(own, torch(PLAIN))));
    ratios.extend([
        Ratio(direct(PLAIN), burn),
        Ratio(direct(DO), direct(PLAIN)),
        Ratio(torch(DO), torch(PLAIN)),
    ]);
    let times: Vec<Show> = keys.iter().map(|&key| Milliseconds(key)).collect();
    let tables = [("training step, ratios", &ratios[..]), ("training step, ms", &times)];
    compare::<T>(layers, &keys, &tables, field, plan)
}

/// Times all of `keys` and prints tables of them.
fn compare<T: Element>(
    layers: &[Layer],
    keys: &[Key],
    tables: &[(&str, &[Show])],
    field: &Field,
    plan: &Plan,
) -> Result<()> {
    let mut rows = Vec::new();
    for layer in layers {
        eprintln!("{}: {}", layer.name, tables[0].0);
        let measured = measure::<T>(layer, keys, field, plan);
        rows.push(measured.with_context(|| format!("layer {}", layer.name))?);
    }
    let names: Vec<String> = layers.iter().map(|layer| layer.name.to_owned()).collect();
    for (title, columns) in tables {
        let columns: Vec<Column> = columns.iter().map(|&show| column(show, &rows)).collect();
        table::print(title, &names, &columns, true);
    }
    Ok(())
}

/// Each contender that there is.
fn measure<T: Element>(
    layer: &Layer,
    keys: &[Key],
    field: &Field,
    plan: &Plan,
) -> Result<Vec<Measured>> {
    let (mut present, mut contenders) = (Vec::new(), Vec::new());
    for &key in keys {
        if let Some(contender) = field.contender::<T>(layer, key)? {
            present.push(key);
            contenders.push(contender);
        }
    }
    check::<T>(&present, &mut contenders)?;
    let errors = errors::<T>(layer, &present, &mut contenders)?;
    let times = race(&mut contenders, plan)?;
    let rows = present.into_iter().zip(times).zip(errors);
    Ok(rows.map(|((key, seconds), error)| Measured { key, seconds, error }).collect())
}

/// Compares each contender's results with those of the first that has the same task: ours, direct.
fn check<T: Element>(keys: &[Key], contenders: &mut [Box<dyn Contender>]) -> Result<()> {
    let mut references: Vec<(Task, Vec<Checksum>)> = Vec::new();
    for (&(who, task), contender) in keys.iter().zip(contenders) {
        let results = contender.check()?;
        match references.iter().find(|(other, _)| *other == task) {
            Some((_, ours)) => data::compare(who.name(), ours, &results, T::TOLERANCE)?,
            None => references.push((task, results)),
        }
    }
    Ok(())
}

/// The largest error of each forward pass of `f32`; there is nothing to measure `f64` by.
fn errors<T: Element>(
    layer: &Layer,
    keys: &[Key],
    contenders: &mut [Box<dyn Contender>],
) -> Result<Vec<Option<f64>>> {
    if T::NAME != f32::NAME || keys.iter().all(|(_, task)| *task != Task::Forward) {
        return Ok(vec![None; keys.len()]);
    }
    let exact = exact::<T>(layer)?;
    contenders.iter_mut().map(|contender| contender.error(&exact).map(Some)).collect()
}

fn column(show: Show, rows: &[Vec<Measured>]) -> Column {
    type Row = Vec<Measured>;
    let find = |row: &'_ Row, key: Key| row.iter().position(|measured| measured.key == key);
    let seconds = |row: &Row, key| find(row, key).map(|index| row[index].seconds);
    let best = |row: &Row, task| {
        let own = ours(task).into_iter().filter_map(|key| Some((key, seconds(row, key)?)));
        own.min_by(|one, other| one.1.total_cmp(&other.1))
    };
    let numbers = |heading: String, decimals, of: &dyn Fn(&Row) -> Option<f64>| {
        Column::new(heading, decimals, rows.iter().map(of).collect())
    };
    match show {
        Best(task) => Column::words(
            format!("best{}", suffix(task)),
            rows.iter().map(|row| best(row, task).map(|(key, _)| key.0.name().into())).collect(),
        ),
        BestRatio(task, peer) => {
            let ratio = |row: &Row| Some(best(row, task)?.1 / seconds(row, peer)?);
            numbers(format!("best / {}", name(peer)), 2, &ratio)
        }
        Ratio(ours, peer) => {
            let ratio = |row: &Row| Some(seconds(row, ours)? / seconds(row, peer)?);
            numbers(format!("{} / {}", name(ours), name(peer)), 2, &ratio)
        }
        Milliseconds(key) => {
            numbers(name(key), 2, &|row| seconds(row, key).map(|seconds| 1e3 * seconds))
        }
        Error(key) => numbers("error, u".into(), 2, &|row| row[find(row, key)?].error),
    }
}

fn name((who, task): Key) -> String {
    format!("{}{}", who.name(), suffix(task))
}

fn suffix(task: Task) -> &'static str {
    match task {
        Task::Forward => "",
        Task::Step => " plain",
        Task::DoStep => " DO",
    }
}
