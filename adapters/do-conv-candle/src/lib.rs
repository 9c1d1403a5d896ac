//! DO-Conv for [candle](https://docs.rs/candle-core): convolution layers that train with a depthwise
//! kernel in front (Cao et al., [arXiv 2006.12030](https://arxiv.org/abs/2006.12030)) and fold back into
//! plain convolutions that cost nothing extra.
//!
//! ```text
//! y = (Dᵀ∘W) * x + b       W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]
//! ```
//!
//! Training changes `D` and `W`; inference keeps only `W' = Dᵀ∘W`. `D` starts as the identity, so a new
//! layer is the plain convolution by `W`.
//!
//! # Train
//!
//! ```
//! use candle_core::{DType, Device, Module, Result, Tensor};
//! use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap};
//! use do_conv_candle::{DoConv2dConfig, do_conv2d};
//!
//! # fn main() -> Result<()> {
//! let variables = VarMap::new();
//! let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
//! let config = DoConv2dConfig { padding: [1, 1], stride: [2, 2], ..Default::default() };
//! let layer = do_conv2d(3, 16, 3, config, vb.pp("conv1"))?; // instead of candle_nn::conv2d
//!
//! let mut optimizer = AdamW::new(variables.all_vars(), ParamsAdamW::default())?;
//! let x = Tensor::randn(0f32, 1., (8, 3, 32, 32), &Device::Cpu)?;
//! let loss = layer.forward(&x)?.sqr()?.mean_all()?;
//! optimizer.backward_step(&loss)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Fold
//!
//! ```
//! # use candle_core::{DType, Device, Module, Result, Tensor};
//! # use candle_nn::{VarBuilder, VarMap, batch_norm};
//! # use do_conv_candle::{DoConv2dConfig, do_conv2d};
//! # fn main() -> Result<()> {
//! # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
//! # let layer = do_conv2d(3, 16, 3, DoConv2dConfig::default(), vb.clone())?;
//! # let norm = batch_norm(16, 1e-5, vb)?;
//! # let x = Tensor::randn(0f32, 1., (8, 3, 32, 32), &Device::Cpu)?;
//! let conv: candle_nn::Conv2d = layer.fold()?; // candle's own layer …
//! let conv = conv.absorb_bn(&norm)?; // … with all that it can do
//! let fast = do_conv_candle::Conv2d::from_candle(&conv)?; // the same on the CPU, several times faster
//! let y = fast.forward(&x)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Load what PyTorch trained
//!
//! The variables have the names and shapes that the published PyTorch code gives them, `W`, `D` and
//! `bias`, so its checkpoints load through candle's [`VarBuilder`](candle_nn::VarBuilder), from `.pth`
//! or safetensors. The identity that they store beside `D` (`d_diag`) is recomputed and never trained.
//! Layers with several groups of several output channels need
//! [`pairing`](DoConv2dConfig::pairing)`: `[`Pairing::PyTorch`].
//!
//! # Save what a reader can fold
//!
//! [`save`] writes the variables as `VarMap::save` does, and beside them what they don't show, how `D` and
//! `W` are paired, so that `do-conv fold` folds the file without being told.
//!
//! # What runs where
//!
//! On the CPU, outputs and gradients are computed by the engine of the crate
//! [`do_conv`], as custom operators in candle's autograd: any stride, padding, dilation and number of
//! groups, tensors of any strides, with the bits of `do_conv`'s own layers for any number of threads, and
//! faster than candle's plain convolution. Elsewhere layers are made of candle's operations, with these
//! faults of candle 0.11 worked around:
//!
//! * the gradient of a strided convolution's input is refused where the stride leaves another number of
//!   rows than of columns unread: such an input is cut first;
//! * some kernels that aren't contiguous are refused or read as if they were: every kernel is made
//!   contiguous;
//! * only one stride, padding and dilation for both axes: a padding for each is laid around the input; a
//!   stride or a dilation for each is an error there.
//!
//! # Features
//!
//! `accelerate`, `cuda`, `cudnn`, `metal` and `mkl` turn on candle's features of that name.

#![forbid(unsafe_code)]

mod config;
mod conv2d;
mod engine;
mod fallback;
mod layer;
mod save;

pub use config::DoConv2dConfig;
pub use conv2d::Conv2d;
pub use do_conv::{Algorithm, Pairing};
pub use layer::{DoConv2d, do_conv2d, do_conv2d_no_bias};
pub use save::save;

/// The README's programs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
