//! The tensors of an unfolded layer: `W`, `D` and the identity, none of them in memory before they are
//! asked for.

use std::io;
use std::sync::Arc;

use super::layer::Sizes;
use crate::checkpoint::axes::stored_shape;
use crate::checkpoint::convolution::Convolution;
use crate::checkpoint::float::Float;
use crate::checkpoint::layers::framework::Framework;
use crate::checkpoint::tensor::{Bytes, Lazy, Tensor};
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};
use crate::layer::sampler::Sampler;

/// Makes the tensors of one layer.
pub struct Maker<'a> {
    pub operation: Operation,
    pub convolution: &'a Convolution<'a>,
    pub sizes: Sizes,
    pub framework: Framework,
}

impl Maker<'_> {
    /// `W`, stored in that shape: the kernel itself, filled up to `S` where that is more than its taps.
    pub fn w(&self, shape: &[usize], seed: u64) -> Result<Tensor> {
        let Convolution { key, tensor, float, .. } = *self.convolution;
        let [outputs, inputs, d_mul] = self.sizes.w_shape;
        let taps = self.convolution.taps();
        if d_mul == taps {
            return tensor.reshaped(shape);
        }
        // The taps are side by side, or those of all inputs and outputs are.
        let (rows, size) = match self.framework {
            Framework::TensorFlow => (1, inputs * outputs),
            Framework::PyTorch | Framework::Gluon => (outputs * inputs, 1),
        };
        let widened = Widened {
            weight: tensor.clone(),
            float,
            rows,
            taps: taps * size,
            copies: d_mul / taps,
            drawn: d_mul % taps * size,
            bound: 1.0 / (inputs as f64 * d_mul as f64).sqrt(),
            seed: seed_of(seed, key.name),
        };
        let bytes = Bytes::Lazy(Arc::new(widened));
        Tensor::at(self.operation, key.whole, tensor.dtype(), shape.to_vec(), bytes)
    }

    /// The offset of `D` from the identity, in that framework's order: zeros.
    pub fn d(&self, shape: [usize; 3]) -> Result<Tensor> {
        let Convolution { key, tensor, float, .. } = *self.convolution;
        // Any divisor of the tensor's bytes.
        let zeros = vec![0; self.convolution.taps() * float.size()];
        let stored = stored_shape(shape, self.framework.d_axes()).to_vec();
        Tensor::repeated(self.operation, key.whole, tensor.dtype(), stored, &zeros)
    }

    /// The identity, `[I, MN, S]`, repeated along `S` as often as it fits.
    pub fn identity(&self, shape: [usize; 3]) -> Result<Tensor> {
        let Convolution { key, tensor, float, .. } = *self.convolution;
        let [_, taps, d_mul] = shape;
        let elements = taps.checked_mul(d_mul).and_then(|all| all.checked_mul(float.size()));
        let Some(len) = elements else {
            let expected = "a size that fits the address space";
            let got = format!("{shape:?}");
            return Err(self.operation.error(ErrorKind::Overflow, shown(key.name), expected, got));
        };
        let mut one = [0; 8];
        let one = &mut one[..float.size()];
        float.round(&mut [1.0], one);
        let mut channel = self.operation.room("identity", len)?;
        for tap in 0..taps {
            for s in 0..d_mul {
                let is_one = s < d_mul / taps * taps && s % taps == tap;
                channel.extend(one.iter().map(|byte| if is_one { *byte } else { 0 }));
            }
        }
        Tensor::repeated(self.operation, key.whole, tensor.dtype(), shape.to_vec(), &channel)
    }
}

/// A kernel filled up to more columns of `W` than it has taps.
///
/// The first `MN` columns are the kernel, which the first copy of the identity in `D` takes as it is. The
/// columns of further whole copies are zeros: by the ones in `D` they get the kernel's gradient, and so
/// train. Columns beyond the last whole copy have zeros in `D`, and with zeros in `W` too neither would
/// ever have a gradient, since each one's has the other as a factor. So these are drawn as the published
/// code draws all of `W`: `U(−b, b)` with `b = 1/√(n·S)`. The zeros in `D` keep them out of the kernel.
#[derive(Debug)]
struct Widened {
    weight: Tensor,
    float: Float,
    /// How often kernel, zeros and drawn numbers follow one another.
    rows: usize,
    /// Elements of a row that are the kernel's.
    taps: usize,
    /// Copies of the identity that fit into `S`.
    copies: usize,
    /// Elements of a row that are drawn.
    drawn: usize,
    bound: f64,
    seed: u64,
}

impl Lazy for Widened {
    fn read(&self, len: usize) -> io::Result<Vec<u8>> {
        let size = self.float.size();
        let mut bytes: Vec<u8> = Vec::new();
        let no_room = |_| io::Error::new(io::ErrorKind::OutOfMemory, "no room for it");
        bytes.try_reserve_exact(len).map_err(no_room)?;
        let contents = self.weight.contents()?;
        let mut sampler = Sampler::new(self.seed);
        let (mut buffer, mut drawn) = (Vec::new(), vec![0.0; self.drawn]);
        let mut rounded = vec![0; self.drawn * size];
        for row in 0..self.rows {
            let taps = self.taps * size;
            bytes.extend_from_slice(contents.part(row * taps..(row + 1) * taps, &mut buffer)?);
            bytes.resize(bytes.len() + taps * (self.copies - 1), 0);
            sampler.uniform(self.bound, &mut drawn);
            self.float.round(&mut drawn, &mut rounded);
            bytes.extend_from_slice(&rounded);
        }
        Ok(bytes)
    }
}

/// A seed of the layer's own, so that layers don't start with the same numbers and a layer's don't depend
/// on which others are unfolded (FNV-1a, Fowler, Noll and Vo).
fn seed_of(seed: u64, name: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
