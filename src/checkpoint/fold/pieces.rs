//! What a folded checkpoint consists of, and what of that is refused before anything is composed.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;

use super::batch_norm::NormValues;
use super::expect::eps_of;
use super::finite::finite_values;
use super::kernel::KernelFold;
use super::norm_pairs::NormPairs;
use super::options::FoldOptions;
use super::plain::PlainFold;
use crate::checkpoint::format::described::Described;
use crate::checkpoint::layers::layer_info::LayerInfo;
use crate::checkpoint::layers::options::LayerOptions;
use crate::checkpoint::layers::plain::PlainConv;
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
    /// A plain kernel with a batch normalisation folded in.
    Plain(PlainFold<'a>),
}

impl Piece<'_> {
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::Copy(tensor) => tensor.dtype(),
            Self::Made(tensor) => tensor.dtype(),
            Self::Kernel(kernel) => kernel.layer.dtype(),
            Self::Plain(plain) => plain.conv.kernel.dtype(),
        }
    }

    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Copy(tensor) => tensor.shape().to_vec(),
            Self::Made(tensor) => tensor.shape().to_vec(),
            Self::Kernel(kernel) => kernel.weight_shape().to_vec(),
            Self::Plain(plain) => plain.conv.kernel.shape().to_vec(),
        }
    }

    /// Whether it is folded and written a part at a time.
    pub fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel(_) | Self::Plain(_))
    }

    /// What writers are told of it.
    pub fn described<'n>(&self, name: &'n str) -> Described<'n> {
        Described { name, dtype: self.dtype(), shape: self.shape() }
    }
}

/// What is folded, and how.
pub struct Parts<'a> {
    pub operation: Operation,
    pub checkpoint: &'a Checkpoint,
    pub layers: &'a [LayerInfo],
    pub plain: &'a BTreeMap<&'a str, PlainConv<'a>>,
    pub pairs: &'a NormPairs,
    pub options: &'a FoldOptions,
}

impl<'a> Parts<'a> {
    /// The folded checkpoint's tensors by their names.
    pub fn pieces(&self) -> Result<BTreeMap<String, Piece<'a>>> {
        let mut made = Made::default();
        for layer in self.layers {
            self.add_layer(layer, &mut made)?;
        }
        for conv in self.plain.values() {
            self.add_plain(conv, &mut made)?;
        }
        let Made { pieces: made, gone } = made;
        let kept = self.checkpoint.tensors().filter(|(name, _)| !gone.contains(name));
        let mut pieces: BTreeMap<_, _> =
            kept.map(|(name, tensor)| (name.to_owned(), Piece::Copy(tensor))).collect();
        for (name, piece) in made {
            if pieces.contains_key(&name) {
                let expected = "a name that no other tensor has, for what was folded";
                let got = "one that is taken";
                return Err(self.operation.error(ErrorKind::Format, shown(&name), expected, got));
            }
            pieces.insert(name, piece);
        }
        Ok(pieces)
    }

    fn add_layer(&self, layer: &'a LayerInfo, made: &mut Made<'a>) -> Result<()> {
        let &Self { operation, checkpoint, .. } = self;
        layer.known_kernel_size(operation)?;
        layer.known_pairing(operation)?;
        let keys = layer.keys();
        made.gone.extend(keys.trained());
        made.gone.extend(keys.bias.as_deref());
        let renamed = |key: &str, default: &str| {
            let renamed = self.options.rename.get(key).map_or(default, |renamed| renamed);
            format!("{}{renamed}", keys.prefix)
        };
        let own = keys.bias.as_deref();
        let own_values = own.map(|key| finite_values(operation, checkpoint, key)).transpose()?;
        let bias_key = renamed("bias", "bias");
        let norm = match self.pairs.of(layer.name()) {
            Some(norm) => {
                let values = self.norm_values(norm, layer.out_channels())?;
                made.gone.extend(values.keys.iter().copied());
                Some(values.fold(own_values, layer.float(), &bias_key)?)
            }
            None => None,
        };
        let copied = || own.map(|key| Piece::Copy(&checkpoint.tensors[key]));
        let bias = norm.as_ref().map(|norm| Piece::Made(norm.bias.clone())).or_else(copied);
        made.pieces.extend(bias.map(|bias| (bias_key, bias)));
        let kernel = Piece::Kernel(KernelFold { operation, layer, norm });
        made.pieces.push((renamed("W", "weight"), kernel));
        Ok(())
    }

    /// Adds a plain convolution if a batch normalisation is folded into it.
    fn add_plain(&self, conv: &'a PlainConv<'a>, made: &mut Made<'a>) -> Result<()> {
        let &Self { operation, checkpoint, .. } = self;
        let Some(norm) = self.pairs.of(conv.name) else { return Ok(()) };
        let refused = |key: &str, expected: &str, got: &str| {
            Err(operation.error(ErrorKind::Format, shown(key), expected, got))
        };
        if conv.is_twice {
            return refused(conv.name, "one kernel of that name", "several");
        }
        let (channels, bias_key) = (conv.out_channels(), conv.key_of("bias"));
        let own = match checkpoint.tensors.get_key_value(&bias_key) {
            Some((key, bias)) if bias.shape() != [channels] => {
                return refused(
                    key,
                    &format!("shape [{channels}]"),
                    &format!("{:?}", bias.shape()),
                );
            }
            Some((key, _)) => {
                made.gone.insert(key);
                Some(finite_values(operation, checkpoint, key)?)
            }
            None => None,
        };
        let values = self.norm_values(norm, channels)?;
        made.gone.extend(values.keys.iter().copied());
        made.gone.insert(conv.key);
        let norm = values.fold(own, conv.float, &bias_key)?;
        made.pieces.push((bias_key, Piece::Made(norm.bias.clone())));
        let kernel = Piece::Plain(PlainFold { operation, conv, norm });
        made.pieces.push((conv.key.to_owned(), kernel));
        Ok(())
    }

    /// The numbers of a batch normalisation of so many channels.
    fn norm_values(&self, name: &str, channels: usize) -> Result<NormValues<'a>> {
        let eps = eps_of(self.operation, self.checkpoint, self.options, name)?;
        NormValues::read(self.operation, self.checkpoint, channels, name, eps)
    }
}

/// What is made, and the names of the tensors that it is made of.
#[derive(Default)]
struct Made<'a> {
    pieces: Vec<(String, Piece<'a>)>,
    gone: BTreeSet<&'a str>,
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
