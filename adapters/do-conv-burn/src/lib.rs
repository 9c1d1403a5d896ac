//! x

#![forbid(unsafe_code)]

mod compose;
mod config;
mod layer;
mod reparameterize;

pub use config::DoConv2dConfig;
pub use do_conv::{Error, ErrorKind, Pairing};
pub use layer::DoConv2d;
pub use reparameterize::{DepthwiseKernel, OverParameterize};
