//! Composition and convolution at once.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape, Tensor, WithDType};
use do_conv::Scalar;
use do_conv::operator::{DoConv2dGradientsMut, DoConvolve};

use super::memory::{on_cpu, output, tensor, view, wanted};

/// `((d_offset + E)ᵀ∘w) * x`, by the core in both directions: the kernel is composed where it is read, and
/// candle has no gradient of it to add up.
#[derive(Debug, Clone)]
pub struct Both<T>(pub Arc<DoConvolve<T>>);

impl<T: Scalar + WithDType> CustomOp3 for Both<T> {
    fn name(&self) -> &'static str {
        "do-conv composition and convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        d_offset: &CpuStorage,
        d_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = view::<T, 4>("x", (x, x_layout))?;
        let (d_offset, w) = (view("D", (d_offset, d_layout))?, view("W", (w, w_layout))?);
        let shape = self.0.output_shape(x.dim().into()).map_err(Error::wrap)?;
        output(shape, |y| self.0.forward_into(x, Some(d_offset), w, None, y.view_mut()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        d_offset: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut dx = wanted::<T, 4>(x)?;
        let mut dd_offset = wanted::<T, 3>(d_offset)?;
        let mut dw = wanted::<T, 3>(w)?;
        let gradients = DoConv2dGradientsMut {
            x: dx.as_mut().map(|dx| dx.view_mut()),
            d_offset: dd_offset.as_mut().map(|dd_offset| dd_offset.view_mut()),
            w: dw.as_mut().map(|dw| dw.view_mut()),
            bias: None,
        };
        let [x, d_offset, w, dy] = [x, d_offset, w, dy].map(|tensor| tensor.storage_and_layout());
        self.0
            .backward_into(
                view("x", on_cpu(&x)?)?,
                Some(view("D", on_cpu(&d_offset)?)?),
                view("W", on_cpu(&w)?)?,
                view("dy", on_cpu(&dy)?)?,
                gradients,
            )
            .map_err(Error::wrap)?;
        Ok((
            dx.map(tensor).transpose()?,
            dd_offset.map(tensor).transpose()?,
            dw.map(tensor).transpose()?,
        ))
    }
}
