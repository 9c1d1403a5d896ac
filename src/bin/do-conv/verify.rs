//! `do-conv verify`.

use do_conv::checkpoint::{Comparison, VerifyOptions, VerifyReport};
use serde_json::json;

use crate::arguments::Verify;
use crate::failure::Failure;
use crate::print::print;
use crate::settings::Reading;
use crate::table::{Kind, Table, columns};
use crate::text::{counted, shown, shown_path};
use crate::words::Work;

/// Compares; gives whether both compute the same.
pub fn run(arguments: &Verify) -> Result<bool, Failure> {
    let reading = &arguments.reading;
    let other_reading = Reading {
        format: arguments.other_format.unwrap_or(reading.format),
        key: arguments.other_key.clone(),
        ..reading.clone()
    };
    let mut work = Work { reading, input: &arguments.input, checkpoint: None };
    let checkpoint = reading.open(&arguments.input).map_err(|error| work.failure(&error))?;
    let mut other_work =
        Work { reading: &other_reading, input: &arguments.other, checkpoint: None };
    let other = other_reading.open(&arguments.other);
    let other = other.map_err(|error| other_work.failure(&error))?;
    (work.checkpoint, other_work.checkpoint) = (Some(&checkpoint), Some(&other));
    // What is said of single layers holds where they are DO-Conv layers; in a folded one they are plain.
    let mut layers = [reading.layer_options()?, other_reading.layer_options()?];
    for (options, work) in layers.iter_mut().zip([work, other_work]) {
        let checkpoint = work.checkpoint.into_iter();
        let any = checkpoint.flat_map(|checkpoint| checkpoint.layers(&work.reading.any_layers()));
        let names: Vec<_> = any.flatten().map(|layer| layer.name().to_owned()).collect();
        options.kernel_sizes.retain(|name, _| names.contains(name));
        options.skip.retain(|name| names.contains(name));
        checked(work, options)?;
    }
    let [here, there] = layers;
    let options = VerifyOptions::default().layers(here).other_layers(there);
    let report = checkpoint.verify(&other, &options).map_err(|error| work.failure(&error))?;
    let text = match arguments.json {
        true => {
            let is_same = report.is_same();
            let files = [&arguments.input, &arguments.other].map(|path| path.to_string_lossy());
            format!("{:#}\n", json!({ "files": files, "is_same": is_same, "verified": report }))
        }
        false => summary(arguments, &report),
    };
    print(&text)?;
    Ok(report.is_same())
}

/// Refuses layers that can't be found, in the name of their own file.
fn checked(work: Work, options: &do_conv::checkpoint::LayerOptions) -> Result<(), Failure> {
    let layers = work.checkpoint.map(|checkpoint| checkpoint.layers(options)).transpose();
    layers.map(drop).map_err(|error| work.failure(&error))
}

fn summary(arguments: &Verify, report: &VerifyReport) -> String {
    let mut table = Table::new([
        ("layer", Kind::Name),
        ("kernel", Kind::Text),
        ("largest difference", Kind::Number),
        ("bound", Kind::Number),
        ("", Kind::Text),
    ]);
    let mut push = |name: String, one: &Comparison| {
        let number = |number: Option<f64>| number.map_or("-".to_owned(), |n| format!("{n:.2e}"));
        let shape = match &one.shapes {
            [here, there] if here == there => format!("{here:?}"),
            [here, there] => format!("{here:?} and {there:?}"),
        };
        let verdict = if one.is_same { "same" } else { "different" };
        table.push([
            name,
            shape,
            number(one.worst.as_ref().map(|worst| worst.difference)),
            number(one.worst.as_ref().map(|worst| worst.bound)),
            verdict.to_owned(),
        ]);
    };
    for layer in &report.layers {
        push(shown(&layer.name), &layer.kernel);
        if let Some(bias) = layer.bias.as_ref().filter(|bias| !bias.is_same) {
            push(format!("{} (bias)", shown(&layer.name)), bias);
        }
    }
    let mut equal = 0;
    for (name, tensor) in &report.tensors {
        match tensor.is_same {
            true => equal += 1,
            false => push(shown(name), tensor),
        }
    }
    let mut text = format!("{}\n", table.text(columns()));
    for (path, only) in
        [(&arguments.input, &report.only_here), (&arguments.other, &report.only_there)]
    {
        if !only.is_empty() {
            let names: Vec<_> = only.iter().map(|name| shown(name)).collect();
            text += &format!("only in {}: {}\n", shown_path(path), names.join(", "));
        }
    }
    let layers = counted(report.layers.len(), "layer");
    let others = counted(equal, "other tensor");
    text + &match report.is_same() {
        true => format!("the same: {layers} within rounding, {others} equal\n"),
        false => format!("different; {layers} compared, {others} equal\n"),
    }
}
