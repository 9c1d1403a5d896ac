//! `do-conv inspect`.

use std::error::Error;
use std::io::{Write, stdout};

use do_conv::Pairing;
use do_conv::checkpoint::{LayerInfo, PairingSource};

use crate::arguments::Inspect;
use crate::table::{Table, shown};

pub fn run(arguments: &Inspect) -> Result<(), Box<dyn Error>> {
    let checkpoint = arguments.input.open()?;
    let layers = checkpoint.layers(&arguments.input.layer_options()?)?;
    let mut table = Table::new([
        "layer",
        "type",
        "W",
        "D",
        "kernel",
        "d_mul",
        "dtype",
        "pairing",
        "parameters",
        "folded",
    ]);
    for layer in &layers {
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
            parameters.trained.to_string(),
            parameters.folded.to_string(),
        ]);
    }
    let mut out = stdout().lock();
    if !layers.is_empty() {
        table.print(&mut out)?;
        writeln!(out)?;
    }
    let before: usize = layers.iter().map(|layer| layer.parameters().trained).sum();
    let after: usize = layers.iter().map(|layer| layer.parameters().folded).sum();
    let others =
        checkpoint.tensors().len() - layers.iter().map(LayerInfo::tensor_count).sum::<usize>();
    writeln!(
        out,
        "{} DO-Conv layers, {before} parameters, {after} folded; {others} other tensors",
        layers.len()
    )?;
    let named = |layers: Vec<&LayerInfo>| {
        layers.iter().map(|layer| shown(layer.name())).collect::<Vec<_>>().join(", ")
    };
    for kind in [Pairing::PyTorch, Pairing::TensorFlow] {
        let paired: Vec<_> = layers
            .iter()
            .filter(|layer| layer.needs_pairing() && layer.pairing() == Some(kind))
            .collect();
        if !paired.is_empty() {
            let kind = pairing_name(kind);
            writeln!(out, "grouped layers that need the {kind} pairing: {}", named(paired))?;
        }
    }
    let open: Vec<_> = layers.iter().filter(|layer| layer.pairing().is_none()).collect();
    if !open.is_empty() {
        let choices = "--pairing input-channel, pytorch or tensorflow";
        writeln!(out, "layers to be told their pairing, {choices}: {}", named(open))?;
    }
    let open: Vec<_> = layers.iter().filter(|layer| layer.kernel_size().is_none()).collect();
    if !open.is_empty() {
        writeln!(out, "layers to be told their kernel size, --kernel NAME=MxN: {}", named(open))?;
    }
    Ok(())
}

/// The pairing where it matters, and what tells it.
fn pairing(layer: &LayerInfo) -> String {
    let source = match layer.pairing_source() {
        Some(PairingSource::Options) => "--pairing",
        Some(PairingSource::Metadata) => "metadata",
        Some(PairingSource::Identity) => "d_diag",
        Some(PairingSource::Reparameterization) => "burn",
        Some(_) => "format",
        None => "",
    };
    match layer.pairing() {
        _ if !layer.pairing_matters() => "-".to_owned(),
        Some(pairing) => format!("{} ({source})", pairing_name(pairing)),
        None => "?".to_owned(),
    }
}

fn pairing_name(pairing: Pairing) -> &'static str {
    match pairing {
        Pairing::InputChannel => "input channel",
        Pairing::PyTorch => "PyTorch",
        Pairing::TensorFlow => "TensorFlow",
    }
}
