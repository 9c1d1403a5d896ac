//! What the two orders of composition cost, layer by layer: measured, and as the formulas have it.

use std::hint::black_box;
use std::time::Instant;

use do_conv::{Composition, Conv2d, Cost, DoConv2d, Error, FormCost};
use ndarray::Array4;

// The layers that every benchmark of the project is made on.
#[path = "../../benches/cases/layers.rs"]
mod layers;

use layers::{LAYERS, Layer, image};

use crate::report::stats::median;

/// Rows and columns of more images of a layer of 512 channels, one at a time: where features are fewest.
const SMALL: [usize; 3] = [4, 2, 1];

/// A layer in one form.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// As the formula has it.
    pub cost: FormCost,
    /// The median of a forward pass.
    pub seconds: f64,
    /// What the layer allocated in its first pass and keeps for the next, in bytes.
    pub kept: u64,
}

/// A layer in its three forms.
#[derive(Clone, Debug)]
pub struct Row {
    /// The layer.
    pub name: String,
    /// `[B, I, H, W]`.
    pub input: [usize; 4],
    /// Folded.
    pub plain: Form,
    /// Unfolded, the kernel composed.
    pub kernel: Form,
    /// Unfolded, features composed.
    pub feature: Form,
}

/// Measures all layers, in turn, that many times. `allocated` says how many bytes are.
///
/// # Errors
/// Where there is no room.
pub fn measure(rounds: usize, allocated: fn() -> u64) -> Result<Vec<Row>, Error> {
    cases().into_iter().map(|(name, layer)| row(name, &layer, rounds, allocated)).collect()
}

/// The project's layers, of as many images and of one, and small images.
fn cases() -> Vec<(String, Layer)> {
    let with_d = LAYERS.into_iter().filter(|layer| layer.kernel > 1);
    let of = |layer: Layer, batch| (layer.name.to_owned(), Layer { batch, ..layer });
    let mut cases: Vec<_> =
        with_d.flat_map(|layer| [of(layer, layer.batch), of(layer, 1)]).collect();
    if let Some(wide) = LAYERS.into_iter().find(|layer| layer.name == "r18.l4") {
        cases.extend(SMALL.map(|image| (wide.name.to_owned(), Layer { image, batch: 1, ..wide })));
    }
    cases
}

fn row(name: String, layer: &Layer, rounds: usize, allocated: fn() -> u64) -> Result<Row, Error> {
    let input = layer.input_shape();
    let x = image(input);
    let kernel: DoConv2d<f32> = layer.do_config().init(1)?;
    let mut feature = kernel.clone();
    feature.set_composition(Composition::Feature)?;
    let plain: Conv2d<f32> = layer.plain_config().init(1)?;
    let cost: Cost = kernel.cost(input)?;
    let mut y = Array4::zeros(cost.output_shape);

    let mut pass = |form: usize| match form {
        0 => plain.forward_into(black_box(&x), &mut y),
        1 => kernel.forward_into(black_box(&x), &mut y),
        _ => feature.forward_into(black_box(&x), &mut y),
    };
    let mut kept = [0; 3];
    for (form, kept) in kept.iter_mut().enumerate() {
        let before = allocated();
        pass(form)?;
        *kept = allocated().saturating_sub(before);
    }
    let mut seconds: [Vec<f64>; 3] = Default::default();
    for _ in 0..rounds {
        for (form, seconds) in seconds.iter_mut().enumerate() {
            let start = Instant::now();
            pass(form)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let seconds = seconds.map(|seconds| median(&seconds).unwrap_or(f64::NAN));
    let form = |cost, form: usize| Form { cost, seconds: seconds[form], kept: kept[form] };
    Ok(Row {
        name,
        input,
        plain: form(cost.plain, 0),
        kernel: form(cost.kernel, 1),
        // The layers are paired by input channel, which has features.
        feature: form(cost.feature.unwrap_or(cost.kernel), 2),
    })
}

/// As a table of Markdown; the faster of the two is bold.
pub fn table(rows: &[Row]) -> String {
    let mut text = "\
| layer | input | MACCs, plain | kernel | feature | ms, plain | kernel | feature | kept, kB, plain | kernel | feature |
| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"
    .to_owned();
    for Row { name, input, plain, kernel, feature } in rows {
        let [b, i, h, w] = input;
        let times = |form: &Form, of: fn(&Form) -> f64| format!("{:.2}×", of(form) / of(plain));
        let better = |form: &Form, other: &Form, of: fn(&Form) -> f64| {
            let text = times(form, of);
            if of(form) < of(other) { format!("**{text}**") } else { text }
        };
        let of_maccs: fn(&Form) -> f64 = |form| form.cost.maccs as f64;
        let of_time: fn(&Form) -> f64 = |form| form.seconds;
        let kept = |form: &Form| format!("{:.0}", form.kept as f64 / 1e3);
        let columns = [
            name.clone(),
            format!("{b}×{i}×{h}×{w}"),
            format!("{:.1} M", of_maccs(plain) / 1e6),
            better(kernel, feature, of_maccs),
            better(feature, kernel, of_maccs),
            format!("{:.3}", 1e3 * plain.seconds),
            better(kernel, feature, of_time),
            better(feature, kernel, of_time),
            kept(plain),
            kept(kernel),
            kept(feature),
        ];
        text += &format!("| {} |\n", columns.join(" | "));
    }
    text
}
