//! The order of a folded kernel's axes, which frameworks differ in.

use std::str::FromStr;
use std::sync::Arc;
use std::{fmt, io};

use crate::checkpoint::layers::layer_info::{Form, LayerInfo};
use crate::checkpoint::tensor::{Bytes, Lazy, Tensor};
use crate::checkpoint::text::shown;
use crate::error::{Error, ErrorKind, Operation, Result};

/// Bytes of a kernel that are read at a time, unless an output channel has more.
const PART: usize = 1 << 18;

/// The order of a folded kernel's axes, for `O` output channels, `n` input channels of a group and
/// `[M, N]` taps.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum KernelLayout {
    /// `[O, n, M, N]`, what `torch.nn.Conv2d` loads.
    #[default]
    PyTorch,
    /// `[M, N, n, O]`, what `tf.nn.conv2d` and `keras.layers.Conv2D` take; of a depthwise layer, which has
    /// `I > 1` groups of one input channel, `[M, N, I, O/I]`, what `tf.nn.depthwise_conv2d` and
    /// `keras.layers.DepthwiseConv2D` take.
    TensorFlow,
}

impl KernelLayout {
    /// Every layout.
    pub const ALL: [Self; 2] = [Self::PyTorch, Self::TensorFlow];

    /// The name: `pytorch` or `tensorflow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PyTorch => "pytorch",
            Self::TensorFlow => "tensorflow",
        }
    }

    /// The shape of a layer's kernel `[O, n, M, N]`, or a refusal if nothing tells it.
    pub(crate) fn shape(
        self,
        operation: Operation,
        layer: &LayerInfo,
        weight_shape: [usize; 4],
    ) -> Result<[usize; 4]> {
        let [outputs, inputs, rows, cols] = weight_shape;
        if self == Self::PyTorch {
            return Ok(weight_shape);
        }
        if layer.form() == Form::Pointwise && inputs == 1 && outputs > 1 {
            let expected = "to be skipped, or the layout pytorch: its groups can't be told, on which \
                            TensorFlow's shape depends";
            let got = format!("a 1x1 kernel of one input channel a group and {outputs} outputs");
            return Err(operation.error(ErrorKind::Ambiguous, shown(layer.name()), expected, got));
        }
        Ok(match (layer.groups(), inputs) {
            // O is [I, O/I] in row-major order, so that the elements lie as those of [M, N, 1, O].
            (channels @ 2.., 1) => [rows, cols, channels, outputs / channels],
            _ => [rows, cols, inputs, outputs],
        })
    }

    /// A kernel `[O, n, M, N]` in this layout and that shape of it; read when it is needed.
    pub(crate) fn stored(
        self,
        operation: Operation,
        name: &str,
        kernel: Tensor,
        shape: [usize; 4],
    ) -> Result<Tensor> {
        match self {
            Self::PyTorch => Ok(kernel),
            Self::TensorFlow => {
                let dtype = kernel.dtype();
                let bytes = Bytes::Lazy(Arc::new(OutputsLast(kernel)));
                Tensor::at(operation, name, dtype, shape.to_vec(), bytes)
            }
        }
    }
}

impl fmt::Display for KernelLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KernelLayout {
    type Err = Error;

    /// The layout of that [name](Self::name).
    ///
    /// # Errors
    /// [`ErrorKind::Value`] for any other text.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|layout| layout.name() == name).ok_or_else(|| {
            let expected = Self::ALL.map(Self::name).join(", ");
            Operation("KernelLayout::from_str").error(
                ErrorKind::Value,
                "name",
                expected,
                shown(name),
            )
        })
    }
}

/// A kernel `[O, n, M, N]` with its elements in the order `[M, N, n, O]`.
#[derive(Debug)]
struct OutputsLast(Tensor);

impl Lazy for OutputsLast {
    /// Reads some output channels at a time, which are next to each other in the end.
    fn read(&self, len: usize) -> io::Result<Vec<u8>> {
        let Self(kernel) = self;
        let &[outputs, inputs, rows, cols] = kernel.shape() else {
            return Err(io::Error::other("a kernel of four axes was announced"));
        };
        let (taps, size) = (rows * cols, kernel.dtype().bitsize() / 8);
        let row = inputs * taps * size;
        let contents = kernel.contents()?;
        let (mut ordered, mut buffer) = (vec![0; len], Vec::new());
        let together = (PART / row.max(1)).max(1);
        for first in (0..outputs).step_by(together) {
            let last = outputs.min(first + together);
            let part = contents.part(first * row..last * row, &mut buffer)?;
            for at in 0..inputs * taps {
                let (input, tap) = (at / taps, at % taps);
                let start = ((tap * inputs + input) * outputs + first) * size;
                let targets = ordered[start..].chunks_exact_mut(size);
                for (target, source) in targets.zip(part.chunks_exact(row)) {
                    target.copy_from_slice(&source[at * size..][..size]);
                }
            }
        }
        Ok(ordered)
    }
}
