//! The formats of files: which one a file has, what its header says, and where its tensors are. None
//! knows of checkpoints; each gives tensors by name. Writers are told of tensors and say what a file of
//! them consists of.

pub mod archive;
pub mod archive_writer;
pub mod container;
pub mod described;
pub mod file_format;
pub mod npy;
pub mod npz;
pub mod npz_writer;
pub mod other;
pub mod pickle_writer;
pub mod safetensors;
pub mod torch;
