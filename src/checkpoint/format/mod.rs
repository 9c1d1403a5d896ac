//! The formats of files: which one a file has, what its header says, and where its tensors are. None
//! knows of checkpoints; each gives tensors by name.

pub mod archive;
pub mod container;
pub mod npy;
pub mod npz;
pub mod other;
pub mod safetensors;
pub mod torch;
