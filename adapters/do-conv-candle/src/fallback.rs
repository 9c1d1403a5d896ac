//! The same operators in candle's own operations, for devices that the engine doesn't run on.

use candle_core::{Result, Tensor};
use do_conv::Pairing;

use crate::DoConv2dConfig;

/// `(d_offset + E)ᵀ∘w`, `[O, I/g, S]` by `[I, M·N, S]` to `[O, I/g, M·N]`, as one product of matrices
/// for each input channel.
pub fn compose(
    config: &DoConv2dConfig,
    d_offset: &Tensor,
    identity: &Tensor,
    w: &Tensor,
) -> Result<Tensor> {
    let (outputs, n, d_mul) = w.dims3()?;
    let (inputs, taps, _) = d_offset.dims3()?;
    let (g, r) = (config.groups, outputs / config.groups);
    // Output channels apart, so that those that go with one channel of D, [I, r, S], come together.
    let (apart, together, back) = match config.pairing {
        Pairing::InputChannel => ([g, r], [0, 2, 1], [0, 2, 1]),
        Pairing::PyTorch => ([r, g], [1, 2, 0], [2, 0, 1]),
        Pairing::TensorFlow => ([g, r], [2, 0, 1], [1, 2, 0]),
    };
    let by_axis = [together[0], together[1], together[2], 3];
    let extents = [apart[0], apart[1], n];
    let paired = together.map(|axis| extents[axis]);
    let w = w.reshape((apart[0], apart[1], n, d_mul))?.permute(by_axis)?.contiguous()?;
    let d = d_offset.broadcast_add(identity)?;
    let product = w.reshape((inputs, r, d_mul))?.matmul(&d.transpose(1, 2)?.contiguous()?)?;
    product
        .reshape((paired[0], paired[1], paired[2], taps))?
        .permute([back[0], back[1], back[2], 3])?
        .reshape((outputs, n, taps))
}

/// The identity `E`, `[1, M·N, S]`: one where `s ≡ m` modulo `M·N`, as often as that fits into `S`.
pub fn identity(taps: usize, d_mul: usize, like: &Tensor) -> Result<Tensor> {
    let mut values = vec![0f32; taps * d_mul];
    for (tap, row) in values.chunks_exact_mut(d_mul).enumerate() {
        row[tap..].iter_mut().step_by(taps).take(d_mul / taps).for_each(|value| *value = 1.0);
    }
    Tensor::from_vec(values, (1, taps, d_mul), like.device())?.to_dtype(like.dtype())
}

/// `weight * x + bias`, for an output of `[rows, columns]`.
///
/// candle knows one stride, padding and dilation for both axes, and its gradient of `x` takes the
/// rows that no step of the stride reaches to be as many as the columns: where they aren't, the input
/// is padded and cut here first. Its kernel is always contiguous, since not all of candle's ways to
/// convolve take another.
pub fn convolve(
    operation: &str,
    config: &DoConv2dConfig,
    output: [usize; 2],
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let DoConv2dConfig { padding, groups, cudnn_fwd_algo: algorithm, .. } = *config;
    let candle = DoConv2dConfig { padding: [0, 0], ..*config };
    let candle_nn::Conv2dConfig { stride, dilation, .. } = candle.to_candle(operation)?;
    // What the last step of each axis reads up to, and what is left after it.
    let reached = [0, 1]
        .map(|axis| (output[axis] - 1) * stride + (weight.dims()[axis + 2] - 1) * dilation + 1);
    let left = [0, 1].map(|axis| x.dims()[axis + 2] + 2 * padding[axis] - reached[axis]);
    let weight = weight.contiguous()?;
    let y = if padding[0] == padding[1] && left[0] == left[1] {
        let x = x.contiguous()?;
        x.conv2d_with_algo(&weight, padding[0], stride, dilation, groups, algorithm)?
    } else {
        let mut x = x.clone();
        for axis in 0..2 {
            x = x.pad_with_zeros(axis + 2, padding[axis], padding[axis])?;
            x = x.narrow(axis + 2, 0, reached[axis])?;
        }
        x.contiguous()?.conv2d_with_algo(&weight, 0, stride, dilation, groups, algorithm)?
    };
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?),
        None => Ok(y),
    }
}
