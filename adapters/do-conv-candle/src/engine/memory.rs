//! candle's tensors as the core's arrays.

use std::ops::Deref;

use candle_core::{CpuStorage, Device, Error, Layout, Result, Shape, Storage, Tensor, WithDType};
use do_conv::Scalar;
use ndarray::{Array, ArrayView, Dim, Dimension, Ix, IxDyn, ShapeBuilder};

/// A tensor's elements where they lie, whatever their strides.
pub fn view<'a, T: WithDType, const N: usize>(
    name: &str,
    (storage, layout): (&'a CpuStorage, &Layout),
) -> Result<ArrayView<'a, T, Dim<[Ix; N]>>>
where
    Dim<[Ix; N]>: Dimension,
{
    let elements = T::cpu_storage_as_slice(storage)?;
    // A view of nothing may begin anywhere.
    let view = match elements.get(layout.start_offset()..) {
        Some(elements) if layout.shape().elem_count() > 0 => {
            ArrayView::from_shape(layout.dims().strides(layout.stride()), elements)
        }
        _ => ArrayView::from_shape(layout.dims(), &elements[..0]),
    };
    let view = view.map_err(Error::wrap)?;
    view.into_dimensionality().map_err(|_| {
        let got = layout.dims();
        Error::msg(format!("do-conv: {name}: expected a tensor of rank {N}, got shape {got:?}"))
    })
}

pub fn on_cpu<'a>(
    (storage, layout): &'a (impl Deref<Target = Storage>, &Layout),
) -> Result<(&'a CpuStorage, &'a Layout)> {
    match &**storage {
        Storage::Cpu(storage) => Ok((storage, layout)),
        _ => candle_core::bail!("do-conv: expected a tensor on the CPU"),
    }
}

/// Where a tensor's gradient goes, if autograd follows it.
pub fn wanted<T: Scalar, const N: usize>(tensor: &Tensor) -> Result<Option<Array<T, Dim<[Ix; N]>>>>
where
    Dim<[Ix; N]>: Dimension,
{
    tensor.track_op().then(|| room(tensor.dims())).transpose()
}

/// Zeros, or an error where there is no room for them.
pub fn room<T: Scalar, const N: usize>(shape: &[usize]) -> Result<Array<T, Dim<[Ix; N]>>>
where
    Dim<[Ix; N]>: Dimension,
{
    let count = shape.iter().product();
    // Asked for and given back: a plain allocation that fails ends the process.
    Vec::<T>::new().try_reserve_exact(count).map_err(|_| {
        Error::msg(format!(
            "do-conv: expected room for {count} elements of shape {shape:?}, got none"
        ))
    })?;
    Array::zeros(IxDyn(shape)).into_dimensionality().map_err(Error::wrap)
}

/// An array in standard layout as a tensor.
pub fn tensor<T: WithDType, D: Dimension>(array: Array<T, D>) -> Result<Tensor> {
    let shape = array.shape().to_vec();
    Tensor::from_vec(array.into_raw_vec_and_offset().0, shape, &Device::Cpu)
}

/// A new storage of that shape, which `write` writes.
pub fn output<T: Scalar + WithDType, const N: usize>(
    shape: [usize; N],
    write: impl FnOnce(&mut Array<T, Dim<[Ix; N]>>) -> do_conv::Result<()>,
) -> Result<(CpuStorage, Shape)>
where
    Dim<[Ix; N]>: Dimension,
{
    let mut array = room(&shape)?;
    write(&mut array).map_err(Error::wrap)?;
    let elements = array.into_raw_vec_and_offset().0;
    Ok((T::to_cpu_storage_owned(elements), Shape::from(shape.as_slice())))
}
