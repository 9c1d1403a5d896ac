//! Convolution layers with depthwise over-parameterization (DO-Conv; Cao et al.,
//! [arXiv 2006.12030](https://arxiv.org/abs/2006.12030)): they train with extra parameters and fold
//! back into plain convolutions that cost nothing extra.
//!
//! A DO-Conv layer puts a depthwise kernel `D` in front of a conventional kernel `W`. Training
//! changes both, by either of two compositions of the same function,
//!
//! ```text
//! kernel composition    y = (Dᵀ∘W) * x + b       W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]
//! feature composition   y = W * (D∘x) + b        (D∘x)[c, s] = Σ_m D[c, m, s] · x[c, · + m]
//! ```
//!
//! and inference keeps only `W' = Dᵀ∘W`.
//!
//! | array | shape | meaning |
//! | --- | --- | --- |
//! | `x` | `[B, I, H, W]` | input images |
//! | `d_offset` | `[I, M·N, S]` | trainable offset of `D` from the identity `E`, zero at the start |
//! | `w` | `[O, I/g, S]` | trainable conventional kernel |
//! | `weight` | `[O, I/g, M, N]` | composed kernel `W'` |
//! | `bias` | `[O]` | trainable bias |
//! | `y` | `[B, O, OH, OW]` | output |
//!
//! with `B` images, `I` input and `O` output channels in `g` groups, a kernel of `M × N` taps and the
//! depth multiplier `S ≥ M·N`. `D = d_offset + E`, so a new layer is the plain convolution by `W`, and
//! weight decay pulls `D` to the identity. Groups give the grouped (DO-GConv) and depthwise (DO-DConv)
//! forms.
//!
//! # Train
//!
//! ```
//! use do_conv::{DoConv2d, DoConv2dConfig};
//! use ndarray::Array4;
//!
//! let config = DoConv2dConfig::new(3, 8, [3, 3]).stride([2, 2]).padding(1);
//! let mut layer: DoConv2d<f32> = config.init(42)?;
//! println!("{layer}");
//!
//! let x = Array4::ones((4, 3, 32, 32));
//! let y = layer.forward(&x)?;
//! let dy = &y - 1.0; // the gradient of Σ (y − 1)² / 2
//! let gradients = layer.backward(&x, &dy)?;
//! for (name, parameters, gradients) in layer.parameters_with_gradients(&gradients)? {
//!     for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
//!         let decay = if name == "d_offset" { 1e-4 * *parameter } else { 0.0 };
//!         *parameter -= 0.001 * (gradient + decay);
//!     }
//! }
//! # Ok::<(), do_conv::Error>(())
//! ```
//!
//! # Fold
//!
//! ```
//! # use do_conv::{Conv2d, DoConv2d, DoConv2dConfig};
//! # use ndarray::Array4;
//! # let layer: DoConv2d<f32> = DoConv2dConfig::new(3, 8, [3, 3]).init(42)?;
//! # let x = Array4::ones((4, 3, 32, 32));
//! let conv: Conv2d<f32> = layer.fold();
//! assert_eq!(conv.forward(&x)?, layer.forward(&x)?); // the same bits
//! assert!(layer.check_fold(&conv, &x)?.within_bound); // and right, by a computation of its own
//!
//! let pretrained = DoConv2d::from_conv2d(&conv, None)?; // the way back: the same function
//! assert_eq!(pretrained.weight(), conv.weight());
//! # Ok::<(), do_conv::Error>(())
//! ```
//!
//! # Map
//!
//! | you want | look at |
//! | --- | --- |
//! | a layer to train, and what it may be | [`DoConv2dConfig`], [`DoConv2d`], [`DoConv2dGradients`] |
//! | the plain layer, folded or trained as a baseline | [`Conv2dConfig`], [`Conv2d`], [`Conv2dGradients`] |
//! | a net written once for both | [`Layer`] |
//! | settings | [`Padding`], [`PaddingMode`], [`Composition`], [`Pairing`], [`Init`], [`DInit`] |
//! | the fold, checked, with batch normalisation | [`DoConv2d::fold`], [`DoConv2d::check_fold`], [`BatchNorm`] |
//! | what a layer costs | [`DoConv2d::cost`] |
//! | the same computations on a framework's own tensors | [`operator`] |
//! | checkpoints of other frameworks | `checkpoint`, with the feature of that name |
//! | what went wrong | [`Error`], [`ErrorKind`] |
//!
//! # Promises
//!
//! * Results have the same bits for any number of threads.
//! * An image's output doesn't depend on the rest of its batch (but for the choice that
//!   [`Composition::Auto`] makes).
//! * A folded layer gives the same bits as its source under [`Composition::Kernel`].
//! * Bad input gives an [`Error`] that names the operation, the field, what was expected and what came;
//!   nothing is written then.
//!
//! Bits may differ between machines with different vector instructions, within the bounds of rounding
//! errors. [`instruction_set`] says which are in use.
//!
//! # Threads
//!
//! Layers share their work on rayon's current pool, from about two million multiply-accumulates on. A call
//! from outside of the pool first wakes a thread of it, which takes some ten microseconds: where small layers
//! are trained, do a whole step by `rayon::scope(|_| …)`, which does so once. Several threads may call one
//! layer at once; each call has buffers of its own.
//!
//! # Features
//!
//! All are off by default.
//!
//! * `serde`: `Serialize` and `Deserialize` for configurations, layers and gradients. Binary formats keep
//!   every bit. A text format, as JSON, is refused numbers that aren't finite, since JSON would have `null`
//!   for them, which can't be read back; the error names the first, as `DoConv2d::serialize: w: expected
//!   finite numbers, …, got NaN at [0, 1, 2], the first of 9`, and nothing is written.
//! * `checkpoint`: the module `checkpoint`, which reads checkpoints of other frameworks, folds them and
//!   writes them.
//! * `cli`: the command `do-conv`, which does that from a shell.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod array;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod compose;
mod config;
// Unsafe code is in the engine and in what it runs on, and nowhere else.
#[allow(unsafe_code)]
mod conv;
mod do_conv;
mod error;
mod layer;
#[allow(unsafe_code)]
mod machine;
pub mod operator;
mod scalar;

pub use config::algorithm::Algorithm;
pub use config::init::{DInit, Init};
pub use config::padding::{Padding, PaddingMode};
pub use config::{Composition, Conv2dConfig, DoConv2dConfig, Pairing};
pub use error::{Error, ErrorKind, Result};
pub use layer::Layer;
pub use layer::batch_norm::BatchNorm;
pub use layer::check::FoldCheck;
pub use layer::conv2d::Conv2d;
pub use layer::cost::{Cost, FormCost};
pub use layer::do_conv2d::DoConv2d;
pub use layer::gradients::{Conv2dGradients, DoConv2dGradients};
pub use operator::{Conv2dGradientsMut, DoConv2dGradientsMut};
pub use scalar::Scalar;

/// The vector instructions that layers compute with: `"avx512"`, `"avx2"`, `"neon"` or `"portable"`,
/// which is plain Rust.
///
/// They are the best that this machine has, unless the environment variable `DO_CONV_ISA` names others
/// of these, in letters of either case, that it has too. Any other value is as good as none. The variable
/// is read once, when the first layer computes or this function is called.
///
/// ```
/// println!("do-conv computes with {}", do_conv::instruction_set());
/// ```
pub fn instruction_set() -> &'static str {
    machine::isa::Isa::active().name()
}

/// The README's programs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
