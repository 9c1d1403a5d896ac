//! The tables.

use std::iter::{once, zip};

use do_conv::{Algorithm, Cost, DoConv2d, Error};

use crate::fold::{Difference, FoldReport};
use crate::net::{Form, LAYERS, Net, input_shape};
use crate::train::Epoch;
use crate::trainer::BATCH;

/// One seed: both nets, epoch by epoch.
pub struct Run {
    pub seed: u32,
    pub plain: Vec<Epoch>,
    pub do_conv: Vec<Epoch>,
    pub fold: FoldReport,
}

pub fn epoch_header() -> &'static str {
    "              training loss      test accuracy, %    seconds per epoch
seed  epoch    plain  DO-Conv      plain  DO-Conv      plain  DO-Conv"
}

pub fn epoch_row(seed: u32, epoch: u32, plain: &Epoch, do_conv: &Epoch) -> String {
    format!(
        "{seed:>4}  {epoch:>5}  {:>7.4}  {:>7.4}    {:>7.2}  {:>7.2}    {:>7.2}  {:>7.2}",
        plain.loss,
        do_conv.loss,
        100.0 * plain.accuracy,
        100.0 * do_conv.accuracy,
        plain.time.as_secs_f64(),
        do_conv.time.as_secs_f64(),
    )
}

/// What each form of the net costs: in training, folded, and without DO-Conv at all.
pub fn cost_table(net: &Net<DoConv2d<f32>>) -> Result<String, Error> {
    let costs = |batch| -> Result<Vec<Cost>, Error> {
        (0..LAYERS).map(|i| net.layers[i].cost(input_shape(i, batch))).collect()
    };
    let (image, step) = (costs(1)?, costs(BATCH)?);
    let sum = |costs: &[Cost], of: fn(&Cost) -> u64| grouped(costs.iter().map(of).sum());

    let row = |name: &str, plain: String, do_conv: String, folded: String| {
        format!("{name:<32}  {plain:>12}  {do_conv:>12}  {folded:>12}")
    };
    Ok([
        row("", "plain".into(), "DO-Conv".into(), "folded".into()),
        row(
            "parameters",
            sum(&image, |c| c.plain.parameters),
            sum(&image, |c| c.kernel.parameters),
            sum(&image, |c| c.plain.parameters),
        ),
        row(
            "MACCs of an image forward",
            sum(&image, |c| c.plain.maccs),
            sum(&image, |c| c.kernel.maccs),
            sum(&image, |c| c.plain.maccs),
        ),
        row(
            &format!("MACCs of a training step ({BATCH})"),
            sum(&step, |c| c.plain.training_maccs),
            sum(&step, |c| c.kernel.training_maccs),
            "–".into(),
        ),
    ]
    .join("\n"))
}

/// The last accuracies over all seeds, and by how much DO-Conv is ahead run by run.
pub fn summary(runs: &[Run], form: Form) -> String {
    let last = |epochs: &[Epoch]| epochs.last().map_or(f64::NAN, |epoch| 100.0 * epoch.accuracy);
    let plain: Vec<_> = runs.iter().map(|run| last(&run.plain)).collect();
    let do_conv: Vec<_> = runs.iter().map(|run| last(&run.do_conv)).collect();
    let ahead: Vec<_> = zip(&do_conv, &plain).map(|(d, p)| d - p).collect();
    let seconds = |epochs: fn(&Run) -> &[Epoch]| {
        let times: Vec<_> =
            runs.iter().flat_map(epochs).map(|epoch| epoch.time.as_secs_f64()).collect();
        mean_and_spread(&times).0
    };

    let seeds = match runs.len() {
        1 => "one seed".to_owned(),
        n => format!("mean ± standard deviation over {n} seeds"),
    };
    format!(
        "{}\n\
         test accuracy, %, {seeds}: plain {}, DO-Conv {}, difference {}\n\
         seconds per epoch: plain {:.2}, DO-Conv {:.2}",
        algorithm(form),
        shown(&plain, false),
        shown(&do_conv, false),
        shown(&ahead, true),
        seconds(|run| &run.plain),
        seconds(|run| &run.do_conv),
    )
}

/// How layers are computed.
pub fn algorithm(Form { algorithm, stride }: Form) -> String {
    let none = "no layer that it applies to: all is computed directly";
    match algorithm {
        Algorithm::Direct => format!("stride {stride}, algorithm {algorithm}"),
        _ if stride > 1 => format!("stride {stride}, algorithm {algorithm}, {none}"),
        _ => format!("stride {stride}, algorithm {algorithm} where it applies"),
    }
}

pub fn fold_lines(run: &Run) -> String {
    let of_net = format!("seed {}, folded: {}", run.seed, difference(&run.fold.net));
    let of_layers = run.fold.layers.iter().zip(1..).map(|(check, layer)| {
        let bits = if check.same_bits { "same" } else { "OTHER" };
        let verdict = if check.within_bound { "≤" } else { "NOT ≤" };
        format!(
            "  layer {layer}: {bits} bits; from the exact values at most {:.1e} {verdict} the bound {:.1e}",
            check.largest_difference, check.bound,
        )
    });
    once(of_net).chain(of_layers).collect::<Vec<_>>().join("\n")
}

pub fn difference(found: &Difference) -> String {
    format!(
        "{} of {} test logits have other bits in the two nets (largest difference {:.1e})",
        grouped(found.differing as u64),
        grouped(found.logits as u64),
        found.largest,
    )
}

fn shown(values: &[f64], sign: bool) -> String {
    let (mean, spread) = mean_and_spread(values);
    let mean = if sign { format!("{mean:+.2}") } else { format!("{mean:.2}") };
    spread.map_or(mean.clone(), |spread| format!("{mean} ± {spread:.2}"))
}

/// The mean and, from two values on, the sample standard deviation.
fn mean_and_spread(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
