//! What a user holds: the two layers, their gradients, and what can be done with a layer.

pub mod batch_norm;
pub mod check;
pub mod conv2d;
pub mod cost;
mod display;
pub mod do_conv2d;
mod fold;
pub mod gradients;
mod images;
pub mod sampler;
#[cfg(feature = "serde")]
mod serialize;
