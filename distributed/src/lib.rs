//! Data-parallel training over MPI, whose numbers don't depend on the number of processes.
//!
//! Each process, a *rank*, has the whole net and a part of every batch. [`link::run`] joins the ranks and
//! gives each a [`link::Link`], by which gradients are summed while the backward pass of earlier layers goes
//! on. [`train::Trainer`] is a training that is made of it.
//!
//! # Why bits don't depend on the number of ranks
//!
//! A batch is cut into *leaves* of a fixed number of images, a power of two of them. The gradient of a leaf is
//! computed by one rank, and gradients are summed in pairs of neighbours, then pairs of pairs, and so on
//! ([`tree`], [`exchange`]). A rank has neighbouring leaves, also a power of two, so that the tree is the same,
//! whichever of its nodes are on one rank. Parameters change by the sum, which all ranks have in the same bits.
//!
//! What is summed are gradients of composed kernels `W'`, not of `D` and `W`: with these linear in that,
//! `dW = D·dW'` and `dD = W·dW'`, they follow from the sum once, on every rank. So fewer bytes are sent, and it is
//! the order in which a layer by itself computes them.

#![forbid(unsafe_code)]

pub mod agreement;
pub mod checkpoint;
pub mod data;
pub mod error;
pub mod exchange;
pub mod link;
mod mpi_peers;
pub mod net;
pub mod options;
pub mod scale;
pub mod session;
pub mod shard;
pub mod state;
pub mod sums;
pub mod train;
pub mod tree;
