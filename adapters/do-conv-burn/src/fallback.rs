//! The same in burn's tensor operations, which run and differentiate on every backend.

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, FloatDType, Tensor};
use do_conv::{Conv2dConfig, Pairing};

use crate::engine::Factors;

/// `weight * x + bias` for an image that is padded by `[[top, bottom], [left, right]]`.
pub fn convolve(
    config: &Conv2dConfig,
    [[top, bottom], [left, right]]: [[usize; 2]; 2],
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
) -> Tensor<4> {
    let padding = [(top, bottom), (left, right)];
    let Conv2dConfig { stride, dilation, groups, .. } = *config;
    conv2d(x, weight, bias, ConvOptions::new_with_padding(stride, padding, dilation, groups))
}

/// `W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]` with `D = d_offset + E`: `[I, M·N, S]` and `[O, I/g, S]`
/// to `[O, I/g, M·N]`, as one product of matrices for each input channel. The result has the type of `w`;
/// the others may have another one.
pub fn compose(factors: Factors, groups: usize, pairing: Pairing) -> Tensor<3> {
    let Factors { w, d_offset, identity } = factors;
    let [inputs, taps, _] = d_offset.dims();
    let [outputs, n, d_mul] = w.dims();
    // `W` and `D` may have been given another depth multiplier than the layer was made with.
    let identity = match identity.dims() == [1, taps, d_mul] {
        true => identity,
        false => self::identity(taps, d_mul, &d_offset.device()),
    };
    let identity = cast_as(identity, &d_offset);
    let (g, r) = (groups, outputs / groups);
    // Output channels apart, so that those that go with one channel of D, [I, r, S], come together.
    let (apart, together, back) = match pairing {
        Pairing::InputChannel => ([g, r], [0, 2, 1, 3], [0, 2, 1, 3]),
        Pairing::PyTorch => ([r, g], [1, 2, 0, 3], [2, 0, 1, 3]),
        Pairing::TensorFlow => ([g, r], [2, 0, 1, 3], [1, 2, 0, 3]),
    };
    let extents = [apart[0], apart[1], n];
    let paired = [extents[together[0]], extents[together[1]], extents[together[2]]];
    let w: Tensor<4> = w.reshape([apart[0], apart[1], n, d_mul]);
    let w: Tensor<3> = w.permute(together.map(|axis| axis as isize)).reshape([inputs, r, d_mul]);
    let d = cast_as(d_offset + identity, &w);
    let product = w.matmul(d.swap_dims(1, 2));
    let product: Tensor<4> = product.reshape([paired[0], paired[1], paired[2], taps]);
    product.permute(back).reshape([outputs, n, taps])
}

/// The identity `E`, `[1, M·N, S]`: one where `s ≡ m` modulo `M·N`, as often as that fits into `S`.
pub fn identity(taps: usize, d_mul: usize, device: &Device) -> Tensor<3> {
    let copies = Tensor::<2>::eye(taps, device).repeat_dim(1, d_mul / taps);
    let beyond = Tensor::zeros([taps, d_mul % taps], device);
    Tensor::cat(vec![copies, beyond], 1).unsqueeze()
}

/// The tensor in the type of another, if that is a type of plain numbers.
pub fn cast_as<const N: usize, const M: usize>(tensor: Tensor<N>, other: &Tensor<M>) -> Tensor<N> {
    let dtype = other.dtype();
    match tensor.dtype() == dtype || !dtype.is_float() {
        true => tensor,
        false => tensor.cast(FloatDType::from(dtype)),
    }
}
