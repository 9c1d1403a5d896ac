//! The core crate's operators as operations of burn's CPU backend.

#[cfg(feature = "autodiff")]
mod autodiff;
#[cfg(feature = "autodiff")]
mod gradients;
mod kept;

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::{DType, Element, FloatDType, Tensor, TensorData};
use do_conv::{Result, Scalar};
use ndarray::{Array, ArrayView, Dim, Dimension, IntoDimension, Ix};

use crate::engine::{Factors, Kernel, Operators, OperatorsOf};
use crate::fallback::cast_as;

pub use kept::Kept;

/// `kernel * x + bias`, computed in the type `native`.
pub fn convolve(
    x: Tensor<4>,
    kernel: Kernel,
    bias: Option<Tensor<1>>,
    operators: Arc<Operators>,
    native: DType,
) -> Tensor<4> {
    let dtype = x.dtype();
    let kernel = match kernel {
        Kernel::Plain(weight) => KernelOf::Plain(cast(weight, native).into_dispatch()),
        // The kernel is rounded to the half type, as a fold's is, whatever the composition.
        Kernel::Composed(factors) if dtype != native => {
            let weight = compose(factors, operators.clone(), native);
            KernelOf::Plain(cast(weight, native).into_dispatch())
        }
        Kernel::Composed(factors) => {
            let [w, d_offset] = of_one_type(factors, native);
            KernelOf::Composed { w: w.into_dispatch(), d_offset: d_offset.into_dispatch() }
        }
    };
    let bias = match bias {
        Some(bias) => BiasOf::Given(cast(bias, native).into_dispatch()),
        None => BiasOf::None,
    };
    // What is cast is new in every call.
    let keeps = dtype == native;
    let x = cast(x, native).into_dispatch();
    let y = <Dispatch as Convolutions>::convolve(x, kernel, bias, operators, keeps);
    cast(Tensor::from_dispatch(y), dtype)
}

/// `(d_offset + E)ᵀ∘w`, computed in the type `native`.
pub fn compose(factors: Factors, operators: Arc<Operators>, native: DType) -> Tensor<4> {
    let dtype = factors.w.dtype();
    let [w, d_offset] = of_one_type(factors, native).map(Tensor::into_dispatch);
    let weight = <Dispatch as Convolutions>::compose(w, d_offset, operators);
    cast(Tensor::from_dispatch(weight), dtype)
}

/// `W` and the offset of `D`, rounded to the type of `W`, in the type `native`.
fn of_one_type(factors: Factors, native: DType) -> [Tensor<3>; 2] {
    let Factors { w, d_offset, .. } = factors;
    let d_offset = cast_as(d_offset, &w);
    [w, d_offset].map(|factor| cast(factor, native))
}

fn cast<const N: usize>(tensor: Tensor<N>, dtype: DType) -> Tensor<N> {
    match tensor.dtype() == dtype {
        true => tensor,
        false => tensor.cast(FloatDType::from(dtype)),
    }
}

/// The kernel of a convolution.
#[derive(ExtensionType)]
pub enum KernelOf<B: Backend> {
    /// `[O, I/g, M, N]`.
    Plain(FloatTensor<B>),
    /// The one that is composed of `w`, `[O, I/g, S]`, and `d_offset`, `[I, M·N, S]`.
    Composed { w: FloatTensor<B>, d_offset: FloatTensor<B> },
}

/// The bias of a convolution, `[O]`.
#[derive(ExtensionType)]
pub enum BiasOf<B: Backend> {
    Given(FloatTensor<B>),
    None,
}

/// What the core computes, on tensors of `f32` or `f64`, all of one type and of the shapes that the operators
/// are for.
#[backend_extension(Flex, Autodiff: cfg(feature = "autodiff"))]
pub trait Convolutions: Backend {
    /// `kernel * x + bias`, `[B, O, OH, OW]`; `keeps` where the operators may keep the kernel.
    fn convolve(
        x: FloatTensor<Self>,
        #[extension_type] kernel: KernelOf<Self>,
        #[extension_type] bias: BiasOf<Self>,
        operators: Arc<Operators>,
        keeps: bool,
    ) -> FloatTensor<Self>;

    /// `(d_offset + E)ᵀ∘w`, `[O, I/g, M, N]`.
    fn compose(
        w: FloatTensor<Self>,
        d_offset: FloatTensor<Self>,
        operators: Arc<Operators>,
    ) -> FloatTensor<Self>;
}

impl Convolutions for Flex {
    fn convolve(
        x: FloatTensor<Self>,
        kernel: KernelOf<Self>,
        bias: BiasOf<Self>,
        operators: Arc<Operators>,
        keeps: bool,
    ) -> FloatTensor<Self> {
        done(match x.dtype() {
            DType::F64 => run_convolve(&operators.double, x, kernel, bias, keeps),
            _ => run_convolve(&operators.single, x, kernel, bias, keeps),
        })
    }

    fn compose(
        w: FloatTensor<Self>,
        d_offset: FloatTensor<Self>,
        operators: Arc<Operators>,
    ) -> FloatTensor<Self> {
        done(match w.dtype() {
            DType::F64 => run_compose(&operators.double, w, d_offset),
            _ => run_compose(&operators.single, w, d_offset),
        })
    }
}

/// Operators are made for the kernel that they get.
const COMPOSED: &str = "operators for a composed kernel";

/// What an operation gave. It can't be refused but for want of memory: tensors' shapes and types have been
/// checked, and burn's operations have no errors.
fn done<R>(result: Result<R>) -> R {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// An element type of the core's.
pub trait Native: Scalar + Element {
    /// A tensor's elements where they lie, if that is in order.
    fn elements(tensor: &FloatTensor<Flex>) -> Option<&[Self]>;
}

impl Native for f32 {
    fn elements(tensor: &FloatTensor<Flex>) -> Option<&[Self]> {
        tensor.as_slice()
    }
}

impl Native for f64 {
    fn elements(tensor: &FloatTensor<Flex>) -> Option<&[Self]> {
        tensor.as_slice()
    }
}

/// The tensor with its elements in order, copied only where they don't lie so.
fn ordered<T: Native>(tensor: FloatTensor<Flex>) -> FloatTensor<Flex> {
    match T::elements(&tensor) {
        Some(_) => tensor,
        None => tensor.to_contiguous(),
    }
}

/// The elements of an ordered tensor.
fn view<T: Native, const N: usize>(tensor: &FloatTensor<Flex>) -> ArrayView<'_, T, Dim<[Ix; N]>>
where
    Dim<[Ix; N]>: Dimension,
    [usize; N]: IntoDimension<Dim = Dim<[Ix; N]>>,
{
    let shape: [usize; N] = tensor.layout().shape().dims();
    let elements = T::elements(tensor).expect("put in order");
    ArrayView::from_shape(shape, elements).expect("of the tensor's shape")
}

/// An array in standard layout as a tensor, without a copy.
fn tensor<T: Native, D: Dimension>(array: Array<T, D>) -> FloatTensor<Flex> {
    let shape = array.shape().to_vec();
    <FloatTensor<Flex>>::from_data(TensorData::new(array.into_raw_vec_and_offset().0, shape))
}

fn run_convolve<T: Native>(
    operators: &OperatorsOf<T>,
    x: FloatTensor<Flex>,
    kernel: KernelOf<Flex>,
    bias: BiasOf<Flex>,
    keeps: bool,
) -> Result<FloatTensor<Flex>> {
    let x = ordered::<T>(x);
    let x = view::<T, 4>(&x);
    let bias = match bias {
        BiasOf::Given(bias) => Some(bias),
        BiasOf::None => None,
    };
    let mut y = Array::zeros(operators.convolve.output_shape(x.dim().into())?);
    if let (KernelOf::Plain(weight), Some(kept), true) = (&kernel, &operators.kept, keeps)
        && let Some(layer) = kept.layer(weight, bias.as_ref())?
    {
        layer.forward_into(&x, &mut y)?;
        return Ok(tensor(y));
    }
    let bias = bias.map(ordered::<T>);
    let bias = bias.as_ref().map(view::<T, 1>);
    match kernel {
        KernelOf::Plain(weight) => {
            let weight = ordered::<T>(weight);
            operators.convolve.forward_into(x, view(&weight), bias, y.view_mut())?;
        }
        KernelOf::Composed { w, d_offset } => {
            let (w, d_offset) = (ordered::<T>(w), ordered::<T>(d_offset));
            let (d_offset, w) = (Some(view(&d_offset)), view(&w));
            let (do_convolve, _) = operators.composed.as_ref().expect(COMPOSED);
            do_convolve.forward_into(x, d_offset, w, bias, y.view_mut())?;
        }
    }
    Ok(tensor(y))
}

fn run_compose<T: Native>(
    operators: &OperatorsOf<T>,
    w: FloatTensor<Flex>,
    d_offset: FloatTensor<Flex>,
) -> Result<FloatTensor<Flex>> {
    let (_, compose) = operators.composed.as_ref().expect(COMPOSED);
    let (w, d_offset) = (ordered::<T>(w), ordered::<T>(d_offset));
    let mut weight = Array::zeros(compose.weight_shape());
    compose.forward_into(view(&d_offset), view(&w), weight.view_mut())?;
    Ok(tensor(weight))
}
