//! What a folded checkpoint consists of, and what of that is refused before anything is composed.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;

use super::batch_norm::NormValues;
use super::kernel::KernelFold;
use super::options::FoldOptions;
use crate::checkpoint::format::described::Described;
use crate::checkpoint::layers::layer_info::LayerInfo;
use crate::checkpoint::layers::options::LayerOptions;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::text::shown;
use crate::config::{KERNEL_SIZE_PREFIX, PAIRING_PREFIX, Pairing};
use crate::error::{ErrorKind, Operation, Result};

/// A tensor of the folded checkpoint.
pub enum Piece<'a> {
    /// One that is in the checkpoint already.
    Copy(&'a Tensor),
    /// A bias with a batch normalisation folded in.
    Made(Tensor),
    Kernel(KernelFold<'a>),
}

impl Piece<'_> {
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::Copy(tensor) => tensor.dtype(),
            Self::Made(tensor) => tensor.dtype(),
            Self::Kernel(kernel) => kernel.layer.dtype(),
        }
    }

    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Copy(tensor) => tensor.shape().to_vec(),
            Self::Made(tensor) => tensor.shape().to_vec(),
            Self::Kernel(kernel) => kernel.weight_shape().to_vec(),
        }
    }

    pub fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }

    /// What writers are told of it.
    pub fn described<'n>(&self, name: &'n str) -> Described<'n> {
        Described { name, dtype: self.dtype(), shape: self.shape() }
    }
}

/// The folded checkpoint's tensors by their names.
pub fn pieces<'a>(
    operation: Operation,
    checkpoint: &'a Checkpoint,
    layers: &'a [LayerInfo],
    options: &FoldOptions,
) -> Result<BTreeMap<String, Piece<'a>>> {
    expect_sense(operation, layers, options)?;
    let renamed = |key: &str, default: &str| {
        options.rename.get(key).map_or(default, |renamed| renamed).to_owned()
    };
    let mut gone: BTreeSet<&str> = BTreeSet::new();
    let mut made = Vec::new();
    for layer in layers {
        layer.known_kernel_size(operation)?;
        layer.known_pairing(operation)?;
        let keys = layer.keys();
        gone.extend(keys.trained());
        gone.extend(keys.bias.as_deref());
        let norm = match options.batch_norms.get(layer.name()) {
            Some(name) => Some(NormValues::read(operation, checkpoint, layer, name, options.eps)?),
            None => None,
        };
        let bias = match (&keys.bias, &norm) {
            (_, Some(norm)) => Some(Piece::Made(norm.folded_bias(checkpoint, layer)?)),
            (Some(key), None) => Some(Piece::Copy(&checkpoint.tensors[key])),
            (None, None) => None,
        };
        let prefix = &keys.prefix;
        made.extend(bias.map(|bias| (format!("{prefix}{}", renamed("bias", "bias")), bias)));
        let scale = norm.map(|norm| {
            gone.extend(norm.keys.iter().copied());
            norm.scale()
        });
        let kernel = Piece::Kernel(KernelFold { operation, layer, scale });
        made.push((format!("{prefix}{}", renamed("W", "weight")), kernel));
    }
    let kept = checkpoint.tensors.iter().filter(|(name, _)| !gone.contains(name.as_str()));
    let mut pieces: BTreeMap<_, _> =
        kept.map(|(name, tensor)| (name.clone(), Piece::Copy(tensor))).collect();
    for (name, piece) in made {
        if pieces.contains_key(&name) {
            let expected = "a name that no other tensor has, for what was folded";
            let got = "one that is taken";
            return Err(operation.error(ErrorKind::Format, shown(&name), expected, got));
        }
        pieces.insert(name, piece);
    }
    Ok(pieces)
}

/// Refuses options that name what isn't there, or that no number can be made of.
fn expect_sense(operation: Operation, layers: &[LayerInfo], options: &FoldOptions) -> Result<()> {
    let refused = |field, expected: &str, got: &str| {
        Err(operation.error(ErrorKind::Config, field, expected, shown(got)))
    };
    if let Some(key) = options.rename.keys().find(|key| !["W", "bias"].contains(&&***key)) {
        return refused("rename", "W or bias", key);
    }
    let named = |name: &String| layers.iter().any(|layer| layer.name() == *name);
    if let Some(name) = options.batch_norms.keys().find(|name| !named(name)) {
        return refused("batch_norms", "the name of a DO-Conv layer", name);
    }
    if !(options.eps >= 0.0 && options.eps.is_finite()) {
        let expected = "a finite number that is not negative";
        return refused("eps", expected, &options.eps.to_string());
    }
    let mut norms = BTreeSet::new();
    if let Some(name) = options.batch_norms.values().find(|name| !norms.insert(*name)) {
        return refused("batch_norms", "each batch normalisation once", name);
    }
    Ok(())
}

/// The metadata without what it says of layers that are no more.
pub fn folded_metadata(
    checkpoint: &Checkpoint,
    layers: &[LayerInfo],
    options: &LayerOptions,
) -> BTreeMap<String, String> {
    let mut metadata = checkpoint.metadata.clone();
    // A layer that stays as it is may need it.
    if options.skip.is_empty() {
        metadata.remove(Pairing::METADATA_KEY);
    }
    for layer in layers {
        metadata.remove(&format!("{KERNEL_SIZE_PREFIX}{}", layer.name()));
        metadata.remove(&format!("{PAIRING_PREFIX}{}", layer.name()));
    }
    metadata
}
