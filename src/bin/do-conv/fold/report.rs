//! The report of a fold: what was chosen, what was folded, and the checks.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::Folded;
use super::files::Job;
use crate::arguments::Fold;
use crate::inspect::source;
use crate::settings::name_of;

/// Writes the report: an object, or with an output folder an array of one for each input.
pub fn write(
    file: &mut impl Write,
    arguments: &Fold,
    jobs: &[Job],
    all: &[Folded],
) -> io::Result<()> {
    let mut objects: Vec<_> =
        jobs.iter().zip(all).map(|(job, folded)| object(arguments, job, folded)).collect();
    let document = match objects.pop() {
        Some(one) if arguments.out_dir.is_none() => one,
        last => Value::Array(objects.into_iter().chain(last).collect()),
    };
    writeln!(file, "{document:#}")
}

fn object(arguments: &Fold, job: &Job, folded: &Folded) -> Value {
    json!({
        "input": job.input.to_string_lossy(),
        "output": job.output.as_ref().map(|output| output.to_string_lossy()),
        "version": env!("CARGO_PKG_VERSION"),
        "taken": folded.opened,
        "options": options(arguments),
        "pairing_sources": pairing_sources(folded),
        "folded": folded.report,
    })
}

/// What the command was told, and its defaults.
fn options(arguments: &Fold) -> Value {
    let Fold { reading, rename, fold_batch_norm, eps, dry_run, force, .. } = arguments;
    let norms: Vec<_> = fold_batch_norm.iter().flatten().cloned().collect();
    let sizes = reading.kernel.iter().map(|(name, [rows, cols])| (name, format!("{rows}x{cols}")));
    let pairs = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
    json!({
        "format": name_of(reading.format),
        "pairing": reading.pairing.map(name_of),
        "kernel": sizes.collect::<BTreeMap<_, _>>(),
        "skip": reading.skip,
        "key": reading.key,
        "strip_prefix": reading.strip_prefix,
        "max_bytes": reading.max_bytes,
        "rename": pairs(rename),
        "fold_batch_norm": pairs(&norms),
        "fold_batch_norm_auto": fold_batch_norm.iter().any(Option::is_none),
        "skip_batch_norm": arguments.skip_batch_norm,
        "eps": eps,
        "eps_of": arguments.eps_of,
        "output_format": arguments.output_format.map(name_of),
        "layout": name_of(arguments.layout),
        "dry_run": dry_run,
        "force": force,
    })
}

/// By layers' names, what tells their pairing, where it matters.
fn pairing_sources(folded: &Folded) -> BTreeMap<&str, &'static str> {
    let layers = folded.layers.iter().filter(|layer| layer.pairing_matters());
    layers.filter_map(|layer| Some((layer.name(), source(layer)?))).collect()
}
