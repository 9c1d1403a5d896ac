//! DO-Conv layers in a checkpoint: whose keys and shapes they have, how they are found, and the way to and
//! from a layer that computes.

pub mod convert;
pub mod find;
pub mod framework;
pub mod layer_info;
pub mod options;
pub mod plain;
