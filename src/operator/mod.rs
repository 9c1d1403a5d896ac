//! What layers compute, without parameters of their own: for frameworks that keep parameters, images
//! and gradients in tensors of theirs and lend them for a call.
//!
//! A DO-Conv layer is [`DoConvolve`], by either [`Composition`](crate::Composition); or [`Compose`], then
//! [`Convolve`] by the kernel that comes out, where that is wanted by itself. Each has gradients of its own, so a
//! framework's autodiff can chain them. The adapters for burn and candle are made of the three.
//!
//! ```
//! use do_conv::DoConv2dConfig;
//! use do_conv::operator::{Compose, Convolve, DoConvolve};
//! use ndarray::{Array3, Array4};
//!
//! let config = DoConv2dConfig::new(2, 4, [3, 3]).padding(1);
//! let (w, d_offset): (Array3<f32>, Array3<f32>) = (Array3::ones((4, 2, 9)), Array3::zeros((2, 9, 9)));
//! let x = Array4::ones((1, 2, 8, 8));
//!
//! let layer = DoConvolve::new(&config)?;
//! let mut y = Array4::zeros(layer.output_shape(x.dim().into())?);
//! layer.forward_into(x.view(), Some(d_offset.view()), w.view(), None, y.view_mut())?;
//! assert_eq!(y[[0, 0, 4, 4]], 18.0);
//!
//! let (compose, convolve) = (Compose::new(&config)?, Convolve::new(&config.conv)?);
//! let mut weight = Array4::zeros(compose.weight_shape());
//! compose.forward_into(d_offset.view(), w.view(), weight.view_mut())?;
//! let mut folded = Array4::zeros(y.raw_dim());
//! convolve.forward_into(x.view(), weight.view(), None, folded.view_mut())?;
//! assert_eq!(folded, y);
//! # Ok::<(), do_conv::Error>(())
//! ```

mod compose;
mod convolve;
mod do_convolve;

pub use compose::Compose;
pub(crate) use convolve::differentiate;
pub use convolve::{Conv2dGradientsMut, Convolve};
pub(crate) use do_convolve::FactorGradients;
pub use do_convolve::{DoConv2dGradientsMut, DoConvolve};
