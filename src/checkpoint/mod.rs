//! Checkpoints: read, folded, unfolded, compared and written (feature `checkpoint`).
//!
//! A checkpoint is tensors by name. [`Checkpoint::open`] reads safetensors, PyTorch's `.pth` and `.pt`
//! (without running any of the code that such a file may ask for) and NumPy's `.npz`;
//! [`Checkpoint::layers`] finds the DO-Conv layers in it by their keys, [`Checkpoint::fold`] writes a
//! checkpoint with plain kernels in their place, [`Checkpoint::check_fold`] does all of that but write,
//! [`Checkpoint::unfold`] is the way back, to DO-Conv layers that go on training from plain ones, and
//! [`Checkpoint::verify`] tells whether two checkpoints compute the same. [`Checkpoint::save`] writes one as
//! it is, in the [`FileFormat`] that the path's extension asks for; [`Checkpoint::layer`] and
//! [`Checkpoint::insert_layer`] are the way to and from a [`DoConv2d`](crate::DoConv2d).
//!
//! ```no_run
//! use do_conv::checkpoint::{Checkpoint, FoldOptions, LayerOptions};
//! use do_conv::DoConv2d;
//!
//! let checkpoint = Checkpoint::open("trained.pth")?;
//! for layer in checkpoint.layers(&LayerOptions::default())? {
//!     println!("{}: {} of {:?}", layer.name(), layer.form(), layer.weight_shape());
//! }
//! // Every `NAME.W` and `NAME.D` becomes the `NAME.weight` that `torch.nn.Conv2d` loads.
//! let report = checkpoint.fold("folded.safetensors", &FoldOptions::default())?;
//! println!("{} layers, checked on random input", report.layers.len());
//!
//! let stem = &checkpoint.layers(&LayerOptions::default())?[0];
//! let config = stem.config()?.stride([2, 2]).padding(3); // a checkpoint doesn't have these
//! let layer: DoConv2d<f32> = checkpoint.layer(stem, config)?;
//! # Ok::<(), do_conv::Error>(())
//! ```
//!
//! # Layers and their keys
//!
//! | [`Framework`] | `W` | offset of `D` | identity | bias | 1×1 layers | pairing |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | PyTorch (default) | `W` `[O, n, S]` | `D` `[I, MN, S]` | `d_diag` or `D_diag` `[I, MN, S]`, if any | `bias` `[O]` | `W` `[O, n, 1]` only | [`Pairing::PyTorch`](crate::Pairing) |
//! | TensorFlow | `kernel` `[S, n, O]` | `D` `[MN, S, I]` | | `bias` | `kernel` `[1, n, O]` only | [`Pairing::TensorFlow`](crate::Pairing) |
//! | Gluon | `weight` `[O, n, M, N]` | `D` `[MN, MN, I]` | | `bias` | a plain `weight` | [`Pairing::TensorFlow`](crate::Pairing) |
//!
//! Keys are a layer's name, a `.` or `/` (with Gluon also `_`) and one of these, which may end in `:0`.
//! The identity is left out of what is written. One that differs a little, as an average of several
//! checkpoints' does, is computed with as the published layer does; one further off than 1/32 is refused.
//! A burn model that was saved in training has `weight.do_conv.D` beside a `weight` that is `W`.
//!
//! `D` has the number of taps `MN` and not `M` and `N`. A square number is taken for a square kernel,
//! any other needs [`LayerOptions::kernel_size`]. A layer that this crate wrote has both `M` and `N` and
//! its pairing in the file's metadata, as `do_conv.kernel_size.NAME` and `do_conv.pairing.NAME`.
//!
//! Layers of this crate's adapters have PyTorch's keys and any pairing, by default another than the published
//! code's, which matters for several groups of several inputs or outputs. Such a layer needs something that tells it:
//! [`LayerOptions::pairing`], `do_conv.pairing.NAME` or, for all layers of a file, `do_conv.pairing`
//! ([`Pairing::METADATA_KEY`](crate::Pairing::METADATA_KEY)) in the metadata, as the adapters' ways to save
//! with metadata put it there, or the identity, which the published code stores and the adapters don't.
//! Without it [`LayerInfo::pairing`] is unknown, and a fold refuses it.
//!
//! # Batch normalisations
//!
//! A batch normalisation right after a convolution is folded into it, a DO-Conv layer or a plain one, if
//! [`FoldOptions::batch_norms`] says so or [`FoldOptions::auto_batch_norms`] tells it by names:
//!
//! | of | convolution and batch normalisation |
//! | --- | --- |
//! | most | `conv1` and `bn1`, `norm1`, `batch_norm1` or `batchnorm1`, with any number or none |
//! | sequences | `downsample.0` and `downsample.1`; `convs.0` and `bns.0` |
//! | detectron2 | `conv1` and `conv1.norm` |
//! | timm | `conv_stem` and `bn1`; the blocks of EfficientNets |
//! | Keras | `conv1_conv` and `conv1_bn`, `block_1_expand` and `block_1_expand_BN`, `conv2d_3` and `batch_normalization_3` |
//!
//! Names don't tell which comes first, and a normalisation before the convolution can't be folded into it.
//! Pairing by names is for networks where normalisations follow, and is refused, with what there could be,
//! - for a pair of other channels than outputs, and by that for all pairs whose names are alike, of a
//!   sequence for those of the same one: so pre-activation networks and DenseNet show;
//! - if no such pair has other inputs than outputs, since then nothing speaks for either order;
//! - for two batch normalisations of one convolution, and two convolutions of one batch normalisation;
//! - for numbers as Keras' where convolutions and batch normalisations don't have the same ones;
//! - for plain kernels that may be transposed convolutions': of as many inputs as outputs, and of an even
//!   size or a name as `deconv`.
//!
//! What shapes can't show is taken for granted: that nothing else is between the two, that the convolution's
//! output goes nowhere else, and, of a network that passes all of this, that no single normalisation
//! precedes. [`FoldReport::batch_norms`] lists the pairs, [`FoldReport::batch_norms_left`] what is left.
//!
//! # The state dict
//!
//! Of what a training script keeps in a PyTorch file, the weights are taken: the dictionary, or module that
//! was pickled whole, under a known key (`state_dict`, `model`, `net`, `params`, `ema`, `model_ema` and
//! their like), in dictionaries in dictionaries too. States of optimizers and schedulers, counters and
//! other objects are passed over; [`Checkpoint::opened`] says what was taken and what was left. Weights
//! that several keys could mean are [`ErrorKind::Ambiguous`](crate::ErrorKind::Ambiguous), with the keys listed, and
//! [`OpenOptions::key`] chooses. Dictionaries without any of these signs are taken whole, and names are their keys with
//! dots between. Prefixes of wrappers are cut off ([`OpenOptions::strip_prefix`]).
//!
//! One object under two names is there under both. Two tensors under one name, as
//! `{'c.W': …, 'c': {'W': …}}` has them, are refused. NumPy arrays are tensors as well; those that no
//! tensor here can be (sparse, quantized, `complex128`) are passed over.
//!
//! # Formats and kernels of other frameworks
//!
//! Files are written as safetensors, for PyTorch or for NumPy: [`FileFormat`]. Folded kernels are written
//! as PyTorch or as TensorFlow has them: [`KernelLayout`]. Texts of the metadata are left out of formats
//! that have no place for them, and such a format is refused where they say what a layer is.
//!
//! # Hostile files
//!
//! Every length, offset and shape is checked against the file before memory is asked for, and no
//! checkpoint is taken in that unpacks to more than eight times its file and 1 MiB
//! ([`OpenOptions::max_bytes`]). Pickles are parsed into a graph of at most 2 Mi values, some hundred bytes
//! each, and nothing in them is called.

mod atomic_file;
mod axes;
mod convolution;
mod float;
mod fold;
mod format;
mod layers;
mod lost_texts;
mod open;
mod opened;
mod pattern;
mod room;
mod save;
mod serialize;
mod state;
mod tensor;
mod text;
mod unfold;
mod unreadable;
mod verify;
mod write;

pub use ::safetensors::Dtype;

pub use atomic_file::AtomicFile;
pub use fold::layout::KernelLayout;
pub use fold::options::FoldOptions;
pub use fold::report::{BatchNormPair, BatchNormSource, FoldReport, FoldedLayer, FoldedPlain};
pub use format::file_format::FileFormat;
pub use layers::framework::Framework;
pub use layers::layer_info::{Form, LayerInfo, PairingSource, ParameterCounts};
pub use layers::options::LayerOptions;
pub use open::OpenOptions;
pub use opened::{Opened, PassedOver};
pub use save::SaveOptions;
pub use state::Checkpoint;
pub use tensor::Tensor;
pub use unfold::options::{UnfoldOptions, UnfoldTarget};
pub use unfold::report::{GroupsSource, LeftReason, LeftTensor, UnfoldReport, UnfoldedLayer};
pub use verify::options::VerifyOptions;
pub use verify::report::{Comparison, Deviation, VerifiedLayer, VerifyReport};
