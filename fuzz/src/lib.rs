//! What every fuzz target does: those of the readers of checkpoints with a file, here; those of layers
//! with a [`case::Case`].

pub mod case;
pub mod layer;
mod lent;
mod nest;
pub mod operators;
pub mod settings;

use std::io::{Cursor, Write};
use std::sync::Once;

use do_conv::Pairing;
use do_conv::checkpoint::{Checkpoint, FoldOptions, Framework, LayerOptions, SaveOptions};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Opens a file of these bytes, reads all that it says, and folds it. Errors are fine; panics, hangs and
/// memory without bounds aren't. What comes out must be a file that gives the same tensors.
pub fn examine(bytes: &[u8]) {
    one_thread();
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("a temporary file with the bytes");
    let Ok(checkpoint) = Checkpoint::open(file.path()) else { return };
    let unpacked: usize = checkpoint.tensors().map(|(_, tensor)| tensor.byte_len()).sum();
    assert!(unpacked <= 8 * bytes.len() + (1 << 20), "{unpacked} bytes");
    let readable = checkpoint.tensors().all(|(name, tensor)| {
        checkpoint.read(name).is_ok_and(|bytes| {
            assert_eq!(bytes.len(), tensor.byte_len());
            true
        })
    });
    for framework in [Framework::PyTorch, Framework::TensorFlow, Framework::Gluon] {
        let options = LayerOptions::default().framework(framework);
        let Ok(layers) = checkpoint.layers(&options) else { continue };
        for layer in &layers {
            let Ok(config) = layer.config() else { continue };
            let _ = checkpoint.layer::<f32>(layer, config);
        }
        for pairing in [Pairing::InputChannel, Pairing::PyTorch, Pairing::TensorFlow] {
            let options = FoldOptions::default().layers(options.clone().pairing(pairing));
            if let Ok(report) = checkpoint.check_fold(&options) {
                assert_eq!(report.layers.len(), layers.len());
            }
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("copy.safetensors");
    match checkpoint.save(&copy, &SaveOptions::default()) {
        Err(_) => assert!(!copy.exists(), "a failure leaves no file"),
        Ok(()) => {
            assert!(readable);
            let copied = Checkpoint::open(&copy).expect("what was written can be read");
            for ((name, tensor), (other_name, other)) in checkpoint.tensors().zip(copied.tensors())
            {
                assert_eq!((name, tensor.dtype()), (other_name, other.dtype()));
                assert_eq!(tensor.shape(), other.shape());
                assert_eq!(checkpoint.read(name).ok(), copied.read(name).ok());
            }
            let bytes = std::fs::read(&copy).expect("the copy");
            safetensors::SafeTensors::deserialize(&bytes).expect("that others can read as well");
        }
    }
}

/// Leaves all work to one thread.
pub fn one_thread() {
    static ONE_THREAD: Once = Once::new();
    ONE_THREAD.call_once(|| {
        let _ = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    });
}

/// A zip archive of entries, the checksums right, stored or compressed.
pub fn archive(entries: &[(String, &[u8])], compressed: bool) -> Option<Vec<u8>> {
    let method = if compressed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(name.as_str(), options).ok()?;
        zip.write_all(bytes).ok()?;
    }
    Some(zip.finish().ok()?.into_inner())
}

/// Cuts bytes into parts, each after a byte of how many sixteens it has, the last to the end.
pub fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let (part, rest) = rest.split_at(rest.len().min(16 * usize::from(len)));
        parts.push(part);
        bytes = rest;
    }
    parts
}
