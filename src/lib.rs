//! draft
#![deny(unsafe_code)]
mod array;
mod compose;
mod config;
#[allow(unsafe_code)]
mod conv;
mod cost;
mod error;
mod feature;
mod fold;
mod geometry;
mod init;
mod layer;
mod padding;
mod params;
mod scalar;

pub use config::{Composition, Conv2dConfig, DoConv2dConfig, Pairing};
pub use conv::{Conv2d, Conv2dGradients, Conv2dGradientsMut};
pub use cost::{Cost, FormCost};
pub use error::{Error, ErrorKind, Result};
pub use fold::{BatchNorm, FoldCheck};
pub use init::{DInit, Init};
pub use layer::DoConv2d;
pub use padding::{Padding, PaddingMode};
pub use params::{Gradients, GradientsMut, Saved};
pub use scalar::Scalar;
