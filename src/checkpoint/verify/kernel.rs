//! The kernel of a layer, plain or composed by the definition in `f64`, some output channels at a time.

use std::io;
use std::ops::Range;

use super::bound::error_of_sum;
use crate::checkpoint::axes::permuted_bytes;
use crate::checkpoint::convolution::Convolution;
use crate::checkpoint::float::Float;
use crate::checkpoint::layers::layer_info::LayerInfo;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::{Contents, Tensor};
use crate::checkpoint::unreadable::unreadable;
use crate::compose::Composer;
use crate::error::{Operation, Result};

/// The kernel of a layer.
pub struct Kernel<'a> {
    /// `W`, `[O, n, S]`, or the plain kernel, `[O, n, MN]`.
    w: Stored<'a>,
    /// The elements of one output channel of `w`.
    w_row: usize,
    d: Option<Depthwise<'a>>,
}

/// `D` of a layer.
struct Depthwise<'a> {
    /// The offset, `[I, MN, S]`.
    offset: Stored<'a>,
    composer: Composer,
}

/// Elements in the order that their field says.
struct Stored<'a> {
    operation: Operation,
    key: &'a str,
    float: Float,
    contents: Contents<'a>,
}

/// Some output channels of a kernel.
pub struct Rows {
    /// `[outputs, n, MN]`.
    pub values: Vec<f64>,
    /// What each may be wrong by, twice; none of a plain kernel, which is as it is.
    pub errors: Option<Vec<f64>>,
}

/// The channels of `D` that go with an output channel.
#[derive(Default)]
struct Channels {
    numbers: Vec<usize>,
    /// `D`, `[n, MN, S]`.
    d: Vec<f64>,
    /// The same of absolute values, of offset and identity each.
    absolute: Vec<f64>,
}

impl<'a> Kernel<'a> {
    /// The kernel of a plain convolution, whose axes `axes` are `[O, n, M, N]`.
    pub fn plain(
        operation: Operation,
        convolution: &Convolution<'a>,
        axes: [usize; 4],
    ) -> Result<Self> {
        let Convolution { key, tensor, float, shape } = *convolution;
        let w = Stored::new(operation, key.whole, tensor, float, &axes)?;
        Ok(Self { w, w_row: shape[1] * convolution.taps(), d: None })
    }

    /// The kernel of a DO-Conv layer.
    pub fn composed(
        operation: Operation,
        checkpoint: &'a Checkpoint,
        layer: &'a LayerInfo,
    ) -> Result<Self> {
        let framework = layer.framework();
        let stored = |key: &'a str, axes: [usize; 3]| {
            let tensor = &checkpoint.tensors[key];
            // Tensors of layers have no other elements.
            let float = Float::of(tensor.dtype()).unwrap_or(Float::F64);
            Stored::new(operation, key, tensor, float, &axes)
        };
        layer.known_pairing(operation)?;
        let w = stored(&layer.keys().w, framework.w_axes())?;
        let [_, n, d_mul] = layer.w_shape();
        let offset = layer.keys().d.as_deref().map(|key| stored(key, framework.d_axes()));
        let composer = layer.composer();
        let d = offset.transpose()?.map(|offset| Depthwise { offset, composer });
        Ok(Self { w, w_row: n * d_mul, d })
    }

    /// Some output channels.
    pub fn rows(&self, outputs: Range<usize>) -> Result<Rows> {
        let mut w = vec![0.0; outputs.len() * self.w_row];
        self.w.read(outputs.start * self.w_row, &mut w)?;
        match &self.d {
            None => Ok(Rows { values: w, errors: None }),
            Some(d) => d.compose(outputs, &w),
        }
    }
}

impl Depthwise<'_> {
    /// Composes some output channels of `W`.
    fn compose(&self, outputs: Range<usize>, w: &[f64]) -> Result<Rows> {
        let Composer { group_inputs: n, taps, d_mul, .. } = self.composer;
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        let mut channels = Channels::default();
        for (output, w) in outputs.zip(w.chunks_exact(n * d_mul)) {
            self.read(output, &mut channels)?;
            let columns = channels.d.chunks_exact(taps * d_mul);
            let absolutes = channels.absolute.chunks_exact(taps * d_mul);
            for ((w, d), absolute) in w.chunks_exact(d_mul).zip(columns).zip(absolutes) {
                for (d, absolute) in d.chunks_exact(d_mul).zip(absolute.chunks_exact(d_mul)) {
                    values.push(d.iter().zip(w).map(|(d, w)| d * w).sum());
                    let absolute = absolute.iter().zip(w).map(|(d, w)| d * w.abs()).sum();
                    errors.push(error_of_sum(d_mul, absolute));
                }
            }
        }
        Ok(Rows { values, errors: Some(errors) })
    }

    /// Reads the channels of `D` that go with an output channel, unless they are there.
    fn read(&self, output: usize, channels: &mut Channels) -> Result<()> {
        let Composer { taps, d_mul, .. } = self.composer;
        let numbers: Vec<usize> = self.composer.channels(output).collect();
        if channels.numbers == numbers {
            return Ok(());
        }
        let size = taps * d_mul;
        channels.d.resize(numbers.len() * size, 0.0);
        match numbers.first() {
            // One after the other in the file.
            Some(&first) if numbers.iter().copied().eq(first..first + numbers.len()) => {
                self.offset.read(first * size, &mut channels.d)?;
            }
            _ => {
                for (channel, target) in numbers.iter().zip(channels.d.chunks_exact_mut(size)) {
                    self.offset.read(channel * size, target)?;
                }
            }
        }
        channels.absolute = channels.d.iter().map(|offset| offset.abs()).collect();
        self.composer.at_identity(&mut channels.d).for_each(|value| *value += 1.0);
        self.composer.at_identity(&mut channels.absolute).for_each(|value| *value += 1.0);
        channels.numbers = numbers;
        Ok(())
    }
}

impl<'a> Stored<'a> {
    /// Elements whose axes `axes` are those wanted; all are in memory if these have another order.
    fn new(
        operation: Operation,
        key: &'a str,
        tensor: &'a Tensor,
        float: Float,
        axes: &[usize],
    ) -> Result<Self> {
        let contents = if axes.is_sorted() {
            tensor.contents().map_err(|error| unreadable(operation, key, &error))?
        } else {
            let bytes = tensor.read(operation, key)?;
            let ordered = permuted_bytes(&bytes, tensor.shape(), axes, float.size());
            Contents::Whole(ordered.map_err(|error| unreadable(operation, key, &error))?.into())
        };
        Ok(Self { operation, key, float, contents })
    }

    /// Reads elements from number `first` on.
    fn read(&self, first: usize, values: &mut [f64]) -> Result<()> {
        let failed = |error: io::Error| unreadable(self.operation, self.key, &error);
        self.contents.widen(self.float, first, values).map_err(failed)
    }
}
