//! Convolution as a blocked matrix product whose im2col is a copy of the image rows that a block of
//! pixels reads, each pixel once, padding included: a [`strip`](super::strip).
//!
//! With the group's kernel as a matrix `A` `[r, K]`, `K = n·MN`, and the column matrix `X` `[K, P]` of
//! all pixels of the batch, the forward pass is `y = A · X`, the gradient of the input is the same
//! product for the transposed kernel ([`input_gradient`](super::input_gradient)), and the gradient of the
//! kernel is `dy · Xᵀ` ([`kernel_gradient`]). `X` as a whole never exists: a row of it, read through one
//! tap, is a part of a strip.
//!
//! ```text
//! for each task: a block of pixels, some output channels         in parallel; each owns a part of y
//!     for each few of the n input channels                       the sum over K, always in this order
//!         copy the block's strip of these channels
//!         for each few registers of output channels              this part of A stays in L2
//!             for each piece of a line, at most MR pixels
//!                 acc[pixels, channels] += Σ x · A               the register tile: a pixel is
//!                     over the taps that it doesn't read zeros   broadcast, a register holds
//!                     through, over the channels                 channels
//!     write acc transposed, with the bias, to the lines of y
//! ```
//!
//! Kernels of one tap need no strip where pixels lie side by side, and no transposition: [`planes`].
//!
//! An element of `y` is summed over `K` in an order that its layer and its place in the image fix:
//! results depend neither on the number of threads nor on the other images of the batch.
//! `docs/engine.md` says why it is so.

mod ahead;
pub mod correlate;
pub mod kernel_gradient;
pub mod panels;
pub mod plan;
pub mod planes;
