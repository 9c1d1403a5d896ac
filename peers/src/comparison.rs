//! The peer tables: ours beside the others, layer by layer.

use anyhow::{Context, Result};

use crate::contenders::{Field, Key, Task, Who};
use crate::data::{self, Checksum, Element};
use crate::layers::Layer;
use crate::race::{Contender, Plan, race};
use crate::table::{self, Column};

const OURS: Key = (Who::Ours, Task::Forward);
const OUR_STEP: Key = (Who::Ours, Task::Step);
const OUR_DO_STEP: Key = (Who::Ours, Task::DoStep);
const TORCH_STEP: Key = (Who::Torch, Task::Step);
const TORCH_DO_STEP: Key = (Who::Torch, Task::DoStep);
const BURN_STEP: Key = (Who::Burn, Task::Step);

/// What a column of a table shows.
enum Show {
    Ratio(Key, Key),
    Milliseconds(Key),
}
use Show::{Milliseconds, Ratio};

/// Forward passes.
pub fn forward<T: Element>(layers: &[Layer], field: &Field, plan: &Plan) -> Result<()> {
    let peers = [Who::Torch, Who::Rten, Who::Burn, Who::Candle].map(|who| (who, Task::Forward));
    let ratios = peers.map(|peer| Ratio(OURS, peer));
    let times = [OURS].into_iter().chain(peers).map(Milliseconds);
    let columns: Vec<Show> = ratios.into_iter().chain(times).collect();
    compare::<T>("forward, ms", layers, &columns, field, plan)
}

/// Training steps: a forward pass and the gradients of all parameters and of the input.
pub fn training<T: Element>(layers: &[Layer], field: &Field, plan: &Plan) -> Result<()> {
    let columns = [
        Ratio(OUR_DO_STEP, TORCH_DO_STEP),
        Ratio(OUR_STEP, TORCH_STEP),
        Ratio(OUR_STEP, BURN_STEP),
        Ratio(OUR_DO_STEP, OUR_STEP),
        Ratio(TORCH_DO_STEP, TORCH_STEP),
        Milliseconds(OUR_STEP),
        Milliseconds(OUR_DO_STEP),
        Milliseconds(TORCH_STEP),
        Milliseconds(TORCH_DO_STEP),
        Milliseconds(BURN_STEP),
    ];
    compare::<T>("training step, ms", layers, &columns, field, plan)
}

/// Times whatever the columns show and prints them.
fn compare<T: Element>(
    title: &str,
    layers: &[Layer],
    columns: &[Show],
    field: &Field,
    plan: &Plan,
) -> Result<()> {
    let keys: Vec<Key> = columns
        .iter()
        .filter_map(|show| match show {
            Milliseconds(key) => Some(*key),
            Ratio(..) => None,
        })
        .collect();
    let mut times = Vec::new();
    for layer in layers {
        eprintln!("{}: {title}", layer.name);
        let measured = measure::<T>(layer, &keys, field, plan);
        times.push(measured.with_context(|| format!("layer {}", layer.name))?);
    }
    let names: Vec<String> = layers.iter().map(|layer| layer.name.to_owned()).collect();
    let columns: Vec<Column> = columns.iter().map(|show| column(show, &times)).collect();
    table::print(title, &names, &columns, true);
    Ok(())
}

/// Seconds of each contender that there is.
fn measure<T: Element>(
    layer: &Layer,
    keys: &[Key],
    field: &Field,
    plan: &Plan,
) -> Result<Vec<(Key, f64)>> {
    let (mut present, mut contenders) = (Vec::new(), Vec::new());
    for &key in keys {
        if let Some(contender) = field.contender::<T>(layer, key)? {
            present.push(key);
            contenders.push(contender);
        }
    }
    check::<T>(&present, &mut contenders)?;
    let times = race(&mut contenders, plan)?;
    Ok(present.into_iter().zip(times).collect())
}

/// Compares each contender's results with those of the first that has the same task: ours.
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

fn column(show: &Show, times: &[Vec<(Key, f64)>]) -> Column {
    let of = |key: &Key, times: &[(Key, f64)]| {
        times.iter().find(|(other, _)| other == key).map(|(_, seconds)| *seconds)
    };
    match show {
        Ratio(ours, peer) => {
            let ratio = |times: &Vec<_>| Some(of(ours, times)? / of(peer, times)?);
            let heading = format!("{} / {}", name(ours), name(peer));
            Column::new(heading, 2, times.iter().map(ratio).collect())
        }
        Milliseconds(key) => {
            let milliseconds = |times: &Vec<_>| of(key, times).map(|seconds| 1e3 * seconds);
            Column::new(name(key), 2, times.iter().map(milliseconds).collect())
        }
    }
}

fn name((who, task): &Key) -> String {
    match task {
        Task::Forward => who.name().to_owned(),
        Task::Step => format!("{} plain", who.name()),
        Task::DoStep => format!("{} DO", who.name()),
    }
}
