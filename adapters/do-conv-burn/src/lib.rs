//! DO-Conv for [burn](https://burn.dev): convolution layers that train with a depthwise kernel in front
//! (Cao et al., [arXiv 2006.12030](https://arxiv.org/abs/2006.12030)) and fold back into plain
//! convolutions that cost nothing extra, on every backend; on burn's CPU backend `flex` by the engine of the crate
//! [`do_conv`], several times faster than burn's own convolutions.
//!
//! ```text
//! y = (Dᵀ∘W) * x + b       W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]
//! ```
//!
//! Training changes `D` and `W`; inference keeps only `W' = Dᵀ∘W`. `D` starts as the identity, so a new
//! layer is the plain convolution by `W`.
//!
//! # As a layer
//!
//! ```
//! use burn::nn::PaddingConfig2d;
//! use burn::tensor::{Device, Tensor};
//! use do_conv_burn::{Conv2d, DoConv2d, DoConv2dConfig};
//!
//! let device = Device::default().autodiff(); // to train
//! let layer: DoConv2d = DoConv2dConfig::new([3, 16], [3, 3])
//!     .with_padding(PaddingConfig2d::Same)
//!     .init(&device); // a module like burn's Conv2d
//! let x = Tensor::<4>::ones([8, 3, 32, 32], &device);
//! let y = layer.forward(x.clone());
//!
//! let conv: burn::nn::conv::Conv2d = layer.fold(); // burn's plain layer, the same function
//! let fast: Conv2d = layer.fold_for_cpu(); // the same on the CPU, several times faster
//! fast.forward(x).into_data().assert_eq(&y.into_data(), true); // and the same bits
//! ```
//!
//! # In a model that exists
//!
//! ```
//! use burn::module::Module;
//! use do_conv_burn::{Conv2d, Conv2dConfig, OverParameterize}; // or burn's own two layers
//! # #[derive(Module, Debug)]
//! # struct MyModel { conv: Conv2d }
//! # let device = Default::default();
//! # let my_model = MyModel { conv: Conv2dConfig::new([3, 16], [3, 3]).init(&device) };
//!
//! let over = OverParameterize::new(&my_model)?; // finds every Conv2d
//! let my_model = my_model.apply_reparameterization(over); // the same type, with a D in each
//! // … train it …
//! let my_model = my_model.valid().materialize(); // plain again, by the composed kernels
//! # Ok::<(), do_conv_burn::Error>(())
//! ```
//!
//! # Load what PyTorch trained
//!
//! The parameters have the names and shapes that the published PyTorch code gives them, `W`, `D` and
//! `bias`, so its checkpoints load through burn's stores, from `.pth` or safetensors, if the modules
//! around have the names of the checkpoint's:
//!
//! ```no_run
//! # use burn::module::Module;
//! use burn::store::{ModuleSnapshot, PytorchStore};
//! # use do_conv_burn::{DoConv2d, DoConv2dConfig};
//! # #[derive(Module, Debug)]
//! # struct MyModel { stem: DoConv2d }
//! # let stem = DoConv2dConfig::new([3, 16], [7, 7]).init(&Default::default());
//! # let mut my_model = MyModel { stem };
//! let result = my_model.load_from(&mut PytorchStore::from_file("trained.pth"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The identity that they store beside `D` (`d_diag`) is recomputed and never trained; the result lists
//! it as unused. Layers with several groups of several output channels need
//! [`pairing`](DoConv2dConfig::pairing)`: `[`Pairing::PyTorch`].
//!
//! # What runs where
//!
//! On `flex`, outputs and gradients are computed by the engine of [`do_conv`], as operations of a
//! [backend extension](burn::backend::backend_extension): on the tensors' own memory where they lie in order,
//! only those gradients that autodiff asks for, with the bits of `do_conv`'s own layers for any number of
//! threads. `f32` and `f64` are native; of `f16` and `bf16` sums are `f32`, and composed kernels, outputs and
//! gradients are rounded to their type. On every
//! other backend, and where [`cpu_engine`](DoConv2dConfig::cpu_engine) is off, layers are made of burn's
//! operations, from the same code, and convolve by the composed kernel whatever their
//! [`composition`](DoConv2dConfig::composition).
//!
//! burn has no way to give another operation to its own `Conv2d`. A model of those that is over-parameterized has its
//! kernels composed by the engine, and convolves by burn; with this crate's [`Conv2d`] it does both by the
//! engine. The two have the same parameters and records, and are made alike, so that a model changes over by its
//! imports.
//!
//! # Features
//!
//! `autodiff` and `flex`, both on by default, turn on burn's features of that name and the engine for them:
//! without, layers are made of burn's operations. `cpu`, `cuda`, `fusion`, `metal`, `rocm`, `vulkan`, `webgpu`
//! and `wgpu` turn on burn's.

#![forbid(unsafe_code)]

mod config;
mod conv2d;
mod displayed;
mod engine;
mod fallback;
#[cfg(feature = "flex")]
mod flex;
mod layer;
mod reparameterize;

pub use config::{Conv2dConfig, DoConv2dConfig};
pub use conv2d::Conv2d;
pub use do_conv::{Algorithm, Composition, Error, ErrorKind, Pairing};
pub use layer::DoConv2d;
pub use reparameterize::{DepthwiseKernel, OverParameterize};

/// The README's programs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
