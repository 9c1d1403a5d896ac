//! What `do-conv inspect --json` prints.

use std::collections::BTreeSet;

use do_conv::checkpoint::LayerInfo;
use serde_json::{Value, json};

use super::{Inspected, source};

/// A document with a line's end.
pub fn text(document: &Value) -> String {
    format!("{document:#}\n")
}

/// All that is known of a file.
pub fn file(file: &Inspected) -> Value {
    let [trained, folded] = file.parameters();
    let of_layers: BTreeSet<_> = file.layers.iter().flat_map(LayerInfo::tensor_names).collect();
    let others = file.checkpoint.tensors().filter(|(name, _)| !of_layers.contains(name));
    let others = others.map(|(name, tensor)| {
        let dtype = tensor.dtype().to_string();
        json!({ "name": name, "dtype": dtype, "shape": tensor.shape(), "bytes": tensor.byte_len() })
    });
    json!({
        "file": file.path.to_string_lossy(),
        "taken": file.checkpoint.opened(),
        "layers": file.layers.iter().map(layer).collect::<Vec<_>>(),
        "parameters": { "trained": trained, "folded": folded },
        "other_tensors": others.collect::<Vec<_>>(),
    })
}

fn layer(layer: &LayerInfo) -> Value {
    json!({
        "name": layer.name(),
        "form": layer.form(),
        "w_shape": layer.w_shape(),
        "d_shape": layer.d_shape(),
        "kernel_size": layer.kernel_size(),
        "d_mul": layer.d_mul(),
        "groups": layer.groups(),
        "in_channels": layer.in_channels(),
        "out_channels": layer.out_channels(),
        "bias": layer.bias(),
        "dtype": layer.dtype().to_string(),
        "pairing": layer.pairing().map(do_conv::Pairing::name),
        "pairing_matters": layer.pairing_matters(),
        "pairing_source": source(layer),
        "parameters": layer.parameters(),
        "tensors": layer.tensor_names().collect::<Vec<_>>(),
    })
}
