//! What is lost with the texts of a checkpoint, which formats but safetensors have no place for.

use std::collections::BTreeMap;

use super::format::file_format::FileFormat;
use super::layers::framework::Framework;
use super::layers::layer_info::LayerInfo;
use super::layers::options::LayerOptions;
use super::state::Checkpoint;
use super::text::shown;
use crate::config::Pairing;
use crate::error::{ErrorKind, Operation, Result};

/// What all texts that say something of layers start with.
const OURS: &str = "do_conv.";

/// Refuses to write a checkpoint without its texts if layers are others without them; else nobody will
/// miss them.
pub fn expect_none(operation: Operation, format: FileFormat, written: &Checkpoint) -> Result<()> {
    let ours = written.metadata.keys().filter(|key| key.starts_with(OURS));
    let ours: Vec<_> = ours.map(|key| shown(key)).collect();
    if format == FileFormat::Safetensors || ours.is_empty() {
        return Ok(());
    }
    let without = Checkpoint { metadata: BTreeMap::new(), ..written.clone() };
    let differ = [Framework::PyTorch, Framework::TensorFlow, Framework::Gluon].into_iter().any(
        |framework| {
            match (layers(written, framework), layers(&without, framework)) {
                (Some(layers), Some(without)) => layers != without,
                // Layers that can't be told apart by PyTorch's keys, the default, may be told by the texts.
                (None, None) => framework == Framework::default(),
                _ => true,
            }
        },
    );
    if !differ {
        return Ok(());
    }
    let expected = "the format safetensors, or none of the metadata that says what layers are";
    let got = format!("the format {format} and {}", ours.join(", "));
    Err(operation.error(ErrorKind::Config, "metadata", expected, got))
}

/// What texts can tell of each layer: its kernel size and, where that matters, its pairing.
fn layers(checkpoint: &Checkpoint, framework: Framework) -> Option<Vec<Told>> {
    let layers = checkpoint.layers(&LayerOptions::default().framework(framework)).ok()?;
    let told = |layer: &LayerInfo| {
        let pairing = layer.pairing().filter(|_| layer.pairing_matters());
        (layer.name().to_owned(), layer.kernel_size(), pairing)
    };
    Some(layers.iter().map(told).collect())
}

type Told = (String, Option<[usize; 2]>, Option<Pairing>);
