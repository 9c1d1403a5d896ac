//! What the core computes of the operations' gradients.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use do_conv::Result;
use do_conv::operator::{Conv2dGradientsMut, DoConv2dGradientsMut};
use ndarray::{Array, Dim, Dimension, IntoDimension, Ix};

use super::{COMPOSED, KernelOf, Native, ordered, tensor, view};
use crate::engine::OperatorsOf;

/// What the gradients of a convolution are computed from.
pub struct Pass {
    pub x: FloatTensor<Flex>,
    pub kernel: KernelOf<Flex>,
    pub dy: FloatTensor<Flex>,
}

/// Something of each input of a convolution.
#[derive(Debug)]
pub struct Parts<P> {
    pub x: P,
    /// Of a plain kernel or of `W`.
    pub kernel: P,
    /// None where the kernel is plain.
    pub d_offset: Option<P>,
    /// None where there is no bias.
    pub bias: Option<P>,
}

pub type Gradients = Parts<Option<FloatTensor<Flex>>>;

/// The gradients that are wanted.
pub fn convolve_gradients<T: Native>(
    operators: &OperatorsOf<T>,
    pass: Pass,
    wanted: Parts<bool>,
) -> Result<Gradients> {
    let x = ordered::<T>(pass.x);
    let dy = ordered::<T>(pass.dy);
    let dy = view::<T, 4>(&dy);
    let mut dx = wanted.x.then(|| like::<T, 4>(&x));
    let mut db = wanted.bias.map(|wanted| wanted.then(|| Array::zeros(dy.dim().1)));
    let x = view::<T, 4>(&x);
    let to_x = dx.as_mut().map(|dx| dx.view_mut());
    let to_bias = db.iter_mut().flatten().next().map(|db| db.view_mut());
    let (of_kernel, of_d) = match pass.kernel {
        KernelOf::Plain(weight) => {
            let weight = ordered::<T>(weight);
            let mut dweight = wanted.kernel.then(|| like::<T, 4>(&weight));
            let to_weight = dweight.as_mut().map(|dweight| dweight.view_mut());
            let gradients = Conv2dGradientsMut { x: to_x, weight: to_weight, bias: to_bias };
            operators.convolve.backward_into(x, view(&weight), dy, gradients)?;
            (dweight.map(tensor), None)
        }
        KernelOf::Composed { w, d_offset } => {
            let (w, d_offset) = (ordered::<T>(w), ordered::<T>(d_offset));
            let mut dw = wanted.kernel.then(|| like::<T, 3>(&w));
            let mut dd_offset = (wanted.d_offset == Some(true)).then(|| like::<T, 3>(&d_offset));
            let gradients = DoConv2dGradientsMut {
                x: to_x,
                w: dw.as_mut().map(|dw| dw.view_mut()),
                d_offset: dd_offset.as_mut().map(|dd_offset| dd_offset.view_mut()),
                bias: to_bias,
            };
            let (d_offset, w) = (Some(view(&d_offset)), view(&w));
            let (do_convolve, _) = operators.composed.as_ref().expect(COMPOSED);
            do_convolve.backward_into(x, d_offset, w, dy, gradients)?;
            (dw.map(tensor), Some(dd_offset.map(tensor)))
        }
    };
    let bias = db.map(|db| db.map(tensor));
    Ok(Gradients { x: dx.map(tensor), kernel: of_kernel, d_offset: of_d, bias })
}

/// The gradients of `W` and of the offset of `D`, which come together.
pub fn compose_gradients<T: Native>(
    operators: &OperatorsOf<T>,
    w: FloatTensor<Flex>,
    d_offset: FloatTensor<Flex>,
    dweight: FloatTensor<Flex>,
) -> Result<[FloatTensor<Flex>; 2]> {
    let (_, compose) = operators.composed.as_ref().expect(COMPOSED);
    let [w, d_offset, dweight] = [w, d_offset, dweight].map(ordered::<T>);
    let (mut dw, mut dd_offset) = (like::<T, 3>(&w), like::<T, 3>(&d_offset));
    let (to_d, to_w) = (dd_offset.view_mut(), dw.view_mut());
    compose.backward_into(view(&d_offset), view(&w), view(&dweight), to_d, to_w)?;
    Ok([tensor(dw), tensor(dd_offset)])
}

/// Zeros of a tensor's shape, to write its gradient to.
fn like<T: Native, const N: usize>(tensor: &FloatTensor<Flex>) -> Array<T, Dim<[Ix; N]>>
where
    Dim<[Ix; N]>: Dimension,
    [usize; N]: IntoDimension<Dim = Dim<[Ix; N]>>,
{
    let shape: [usize; N] = tensor.layout().shape().dims();
    Array::zeros(shape)
}
