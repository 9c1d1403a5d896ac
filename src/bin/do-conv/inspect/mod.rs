//! `do-conv inspect`.

mod json;

use std::path::Path;

use do_conv::Pairing;
use do_conv::checkpoint::{Checkpoint, LayerInfo, LayerOptions, PairingSource};
use serde_json::Value;

use crate::arguments::Inspect;
use crate::failure::Failure;
use crate::print::print;
use crate::settings::Reading;
use crate::table::{Kind, Table, columns};
use crate::taken::taken;
use crate::text::{count, counted, shown, shown_path};
use crate::words::Work;

pub fn run(arguments: &Inspect) -> Result<(), Failure> {
    let options = arguments.reading.layer_options()?;
    let mut files = Vec::new();
    for path in &arguments.inputs {
        files.push(Inspected::read(path, &arguments.reading, &options)?);
    }
    let text = match (arguments.json, &files[..]) {
        (true, [file]) => json::text(&json::file(file)),
        (true, _) => json::text(&Value::Array(files.iter().map(json::file).collect())),
        (false, [file]) => file.text(),
        (false, _) => {
            let parts =
                files.iter().map(|file| format!("{}:\n{}", shown_path(file.path), file.text()));
            parts.collect::<Vec<_>>().join("\n")
        }
    };
    print(&text)
}

/// A checkpoint and its layers.
struct Inspected<'a> {
    path: &'a Path,
    checkpoint: Checkpoint,
    layers: Vec<LayerInfo>,
}

impl<'a> Inspected<'a> {
    fn read(path: &'a Path, reading: &Reading, options: &LayerOptions) -> Result<Self, Failure> {
        let mut work = Work { reading, input: path, checkpoint: None };
        let checkpoint = reading.open(path).map_err(|error| work.failure(&error))?;
        work.checkpoint = Some(&checkpoint);
        let layers = checkpoint.layers(options).map_err(|error| work.failure(&error))?;
        Ok(Self { path, checkpoint, layers })
    }

    /// The number of tensors that are no layer's.
    fn others(&self) -> usize {
        let of_layers: usize = self.layers.iter().map(LayerInfo::tensor_count).sum();
        self.checkpoint.tensors().len().saturating_sub(of_layers)
    }

    /// Parameters of all layers, as they are and folded.
    fn parameters(&self) -> [usize; 2] {
        self.layers.iter().map(LayerInfo::parameters).fold([0, 0], |[trained, folded], layer| {
            [trained + layer.trained, folded + layer.folded]
        })
    }

    fn text(&self) -> String {
        let mut text = taken(self.checkpoint.opened());
        if !self.layers.is_empty() {
            text += &table(&self.layers).text(columns());
            text.push('\n');
        }
        let [trained, folded] = self.parameters();
        let layers = counted(self.layers.len(), "DO-Conv layer");
        let trained = counted(trained, "parameter");
        let (folded, others) = (count(folded), counted(self.others(), "other tensor"));
        text += &format!("{layers}, {trained}, {folded} folded; {others}\n");
        text + &self.needs()
    }

    /// What some layers need.
    fn needs(&self) -> String {
        let mut text = String::new();
        let mut add = |what: &str, is_one: &dyn Fn(&LayerInfo) -> bool| {
            let names = self.layers.iter().filter(|layer| is_one(layer));
            let names: Vec<_> = names.map(|layer| shown(layer.name())).collect();
            if !names.is_empty() {
                text += &format!("{what}: {}\n", names.join(", "));
            }
        };
        for pairing in [Pairing::PyTorch, Pairing::TensorFlow] {
            let what = format!("grouped layers that need the {} pairing", pairing_name(pairing));
            add(&what, &|layer| layer.needs_pairing() && layer.pairing() == Some(pairing));
        }
        let choices = "--pairing input-channel, pytorch or tensorflow";
        add(&format!("layers to be told their pairing, {choices}"), &|layer| {
            layer.pairing().is_none()
        });
        add("layers to be told their kernel size, --kernel NAME=MxN", &|layer| {
            layer.kernel_size().is_none()
        });
        text
    }
}

fn table(layers: &[LayerInfo]) -> Table<10> {
    let mut table = Table::new([
        ("layer", Kind::Name),
        ("type", Kind::Text),
        ("W", Kind::Text),
        ("D", Kind::Text),
        ("kernel", Kind::Text),
        ("d_mul", Kind::Number),
        ("dtype", Kind::Text),
        ("pairing", Kind::Text),
        ("parameters", Kind::Number),
        ("folded", Kind::Number),
    ]);
    for layer in layers {
        let parameters = layer.parameters();
        table.push([
            shown(layer.name()),
            layer.form().to_string(),
            format!("{:?}", layer.w_shape()),
            layer.d_shape().map_or("-".to_owned(), |shape| format!("{shape:?}")),
            layer.kernel_size().map_or("?".to_owned(), |[rows, cols]| format!("{rows}x{cols}")),
            layer.d_mul().to_string(),
            layer.dtype().to_string(),
            pairing(layer),
            count(parameters.trained),
            count(parameters.folded),
        ]);
    }
    table
}

/// The pairing where it matters, and what tells it.
fn pairing(layer: &LayerInfo) -> String {
    match layer.pairing() {
        _ if !layer.pairing_matters() => "-".to_owned(),
        Some(pairing) => format!("{} ({})", pairing_name(pairing), source(layer).unwrap_or("?")),
        None => "?".to_owned(),
    }
}

/// What tells a layer's pairing.
pub fn source(layer: &LayerInfo) -> Option<&'static str> {
    layer.pairing_source().map(|source| match source {
        PairingSource::Options => "--pairing",
        PairingSource::Metadata => "metadata",
        PairingSource::Identity => "d_diag",
        PairingSource::Reparameterization => "burn",
        _ => "format",
    })
}

fn pairing_name(pairing: Pairing) -> &'static str {
    match pairing {
        Pairing::InputChannel => "input channel",
        Pairing::PyTorch => "PyTorch",
        Pairing::TensorFlow => "TensorFlow",
    }
}
