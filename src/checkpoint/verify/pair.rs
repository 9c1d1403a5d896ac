//! The layers that two checkpoints have in common, by name: DO-Conv layers on at least one side.

use std::collections::BTreeMap;

use super::kernel::Kernel;
use crate::checkpoint::convolution::{Convolution, Key};
use crate::checkpoint::layers::framework::Framework;
use crate::checkpoint::layers::layer_info::LayerInfo;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};

/// The axes of a stored plain kernel that are `[O, n, M, N]`.
type Axes = [usize; 4];

/// One of the checkpoints, and what layers it has.
pub struct Side<'a> {
    pub checkpoint: &'a Checkpoint,
    pub layers: BTreeMap<&'a str, &'a LayerInfo>,
    plain: BTreeMap<&'a str, Vec<(Convolution<'a>, Axes)>>,
}

/// A layer of a side.
pub enum Layer<'a> {
    DoConv(&'a Checkpoint, &'a LayerInfo),
    Plain(&'a Checkpoint, Convolution<'a>, Axes),
}

impl<'a> Side<'a> {
    /// A side whose DO-Conv layers are these, of that framework; `separators` are what may stand between
    /// a layer's name and the last part of its keys.
    pub fn new(
        checkpoint: &'a Checkpoint,
        layers: &'a [LayerInfo],
        framework: Framework,
        separators: &[char],
    ) -> Self {
        // A fold's kernels, whatever the framework, and its own plain ones.
        let mut layouts = vec![("weight", [0, 1, 2, 3])];
        layouts.push((framework.kernel_key(), framework.kernel_axes()));
        layouts.dedup();
        let mut plain: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (key, tensor) in &checkpoint.tensors {
            for &(part, axes) in &layouts {
                let Some(key) = Key::of(key, part, separators) else { continue };
                if let Some(convolution) = Convolution::of(key, tensor, axes) {
                    plain.entry(key.name).or_default().push((convolution, axes));
                }
            }
        }
        let layers = layers.iter().map(|layer| (layer.name(), layer)).collect();
        Self { checkpoint, layers, plain }
    }

    /// The layer of that name.
    pub fn layer(&self, operation: Operation, name: &str) -> Result<Option<Layer<'a>>> {
        if let Some(layer) = self.layers.get(name) {
            return Ok(Some(Layer::DoConv(self.checkpoint, layer)));
        }
        match self.plain.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some(&[(convolution, axes)]) => {
                Ok(Some(Layer::Plain(self.checkpoint, convolution, axes)))
            }
            Some([(one, _), (other, _), ..]) => {
                let got = format!("{} and {}", shown(one.key.whole), shown(other.key.whole));
                let expected = "one kernel of that name";
                Err(operation.error(ErrorKind::Ambiguous, shown(name), expected, got))
            }
        }
    }
}

impl<'a> Layer<'a> {
    /// The key of `W` or of the plain kernel.
    pub fn key(&self) -> &'a str {
        match self {
            Self::DoConv(_, layer) => &layer.keys().w,
            Self::Plain(_, convolution, _) => convolution.key.whole,
        }
    }

    /// The keys of all that the kernel is made of.
    pub fn kernel_keys(&self) -> Vec<&'a str> {
        match self {
            Self::DoConv(_, layer) => layer.keys().trained().collect(),
            Self::Plain(_, convolution, _) => vec![convolution.key.whole],
        }
    }

    /// Those of them that are trained: without the identity.
    pub fn trained_keys(&self) -> Vec<&'a str> {
        let identity = match self {
            Self::DoConv(_, layer) => layer.keys().identity.as_deref(),
            Self::Plain(..) => None,
        };
        self.kernel_keys().into_iter().filter(|key| Some(*key) != identity).collect()
    }

    /// The key of the bias, if there is one.
    pub fn bias_key(&self) -> Option<&'a str> {
        match self {
            Self::DoConv(_, layer) => layer.keys().bias.as_deref(),
            Self::Plain(checkpoint, convolution, _) => {
                let key = convolution.key.beside("bias");
                checkpoint.tensors.get_key_value(&key).map(|(key, _)| &**key)
            }
        }
    }

    /// `[O, n, M, N]`, or `[O, n, M·N]` where nothing tells more.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::DoConv(_, layer) => {
                let [outputs, n, taps] = layer.weight_shape();
                match layer.kernel_size() {
                    Some([rows, columns]) => vec![outputs, n, rows, columns],
                    None => vec![outputs, n, taps],
                }
            }
            Self::Plain(_, convolution, _) => convolution.shape.to_vec(),
        }
    }

    /// The kernel.
    pub fn kernel(&self, operation: Operation) -> Result<Kernel<'a>> {
        match self {
            Self::DoConv(checkpoint, layer) => Kernel::composed(operation, checkpoint, layer),
            Self::Plain(_, convolution, axes) => Kernel::plain(operation, convolution, *axes),
        }
    }
}

/// Whether kernels of these shapes may be the same: where one doesn't tell rows and columns, taps will do.
pub fn shapes_agree(here: &[usize], there: &[usize]) -> bool {
    let taps = |shape: &[usize]| shape.iter().skip(2).product::<usize>();
    let [of_channels, to_channels] = [here, there].map(|shape| shape.get(..2));
    match here.len() == there.len() {
        true => here == there,
        false => of_channels == to_channels && taps(here) == taps(there),
    }
}
