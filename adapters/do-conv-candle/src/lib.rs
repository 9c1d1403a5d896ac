//! x

#![forbid(unsafe_code)]

mod config;
mod conv2d;
mod engine;
mod fallback;
mod layer;

pub use config::DoConv2dConfig;
pub use conv2d::Conv2d;
pub use do_conv::Pairing;
pub use layer::{DoConv2d, do_conv2d, do_conv2d_no_bias};
