//! Files of every format, read and written.

use std::collections::BTreeMap;
use std::fs;

use do_conv::ErrorKind;
use do_conv::checkpoint::{Checkpoint, Dtype, OpenOptions, Tensor};
use safetensors::SafeTensors;

use super::{data, refused, tensor};

/// Element types, shapes and bytes by name.
type State = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A safetensors file as the `safetensors` crate reads it.
fn oracle(path: &str) -> State {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter();
    tensors
        .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        .collect()
}

fn state(checkpoint: &Checkpoint) -> State {
    let tensors = checkpoint.tensors();
    tensors
        .map(|(name, tensor)| {
            let bytes = checkpoint.read(name).unwrap().into_owned();
            (name.to_owned(), (tensor.dtype(), tensor.shape().to_vec(), bytes))
        })
        .collect()
}

#[test]
fn every_format_gives_the_same_state() {
    let expected = oracle(&data("formats/state.safetensors"));
    assert_eq!(expected.len(), 14);
    for file in ["state.safetensors", "state.pth", "state_legacy.pth"] {
        let checkpoint = Checkpoint::open(data(&format!("formats/{file}"))).unwrap();
        assert_eq!(state(&checkpoint), expected, "{file}");
    }
    let nested = OpenOptions::default().key("state_dict");
    let nested = Checkpoint::open_with(data("formats/nested.pth"), &nested).unwrap();
    assert_eq!(state(&nested), expected);
    let mut without = expected;
    without.remove("bf16"); // which NumPy hasn't got
    for file in ["state.npz", "state_compressed.npz"] {
        let checkpoint = Checkpoint::open(data(&format!("formats/{file}"))).unwrap();
        assert_eq!(state(&checkpoint), without, "{file}");
    }
}

#[test]
fn values_are_exact() {
    let checkpoint = Checkpoint::open(data("formats/state.pth")).unwrap();
    for name in ["f16", "bf16", "f32", "f64"] {
        let values = checkpoint.values(name).unwrap();
        let counted = (0..values.len()).map(|index| index as f64 / 2.0);
        assert!(values.iter().copied().eq(counted), "{name}");
    }
    let values = checkpoint.values("expanded").unwrap();
    assert_eq!(values.shape(), [3, 2]);
    assert_eq!(values.into_raw_vec_and_offset().0, [1.5, 2.5, 1.5, 2.5, 1.5, 2.5]);
    refused(
        checkpoint.values("i64"),
        ErrorKind::Format,
        "Checkpoint::values: i64: expected F16, BF16, F32 or F64 elements, got I64",
    );
    refused(
        checkpoint.read("i63"),
        ErrorKind::Config,
        "Checkpoint::read: i63: expected a tensor of that name, got none",
    );
}

#[test]
fn dictionaries_in_dictionaries_are_named_by_all_their_keys() {
    let checkpoint = Checkpoint::open(data("formats/nested.pth")).unwrap();
    assert!(checkpoint.get("state_dict.block.0.weight").is_some());
    let stripped = OpenOptions::default().strip_prefix("state_dict.block.");
    let stripped = Checkpoint::open_with(data("formats/nested.pth"), &stripped).unwrap();
    assert!(stripped.get("0.weight").is_some() && stripped.get("state_dict.f32").is_some());

    let key = OpenOptions::default().key("model");
    refused(
        Checkpoint::open_with(data("formats/nested.pth"), &key),
        ErrorKind::Config,
        "Checkpoint::open: key: expected a state dict in a safetensors, PyTorch or .npz file, got \
         key not found in PyTorch file: 'model' not found. Available top-level keys: \
         [\"epoch\", \"name\", \"state_dict\"]",
    );
    refused(
        Checkpoint::open_with(data("formats/state.npz"), &key),
        ErrorKind::Config,
        "Checkpoint::open: key: expected none: only PyTorch files have dictionaries in \
         dictionaries, got model",
    );
}

#[test]
fn a_prefix_that_hides_a_difference_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.safetensors");
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[1], |_| 1.0));
    checkpoint.insert("module.a.W", tensor(&[1], |_| 2.0));
    checkpoint.save(&path, false).unwrap();
    refused(
        Checkpoint::open_with(&path, &OpenOptions::default().strip_prefix("module.")),
        ErrorKind::Format,
        "Checkpoint::open: strip_prefix: expected names that differ without the prefix, got a.W \
         and module.a.W",
    );
}

#[test]
fn what_is_written_is_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let expected = oracle(&data("formats/state.safetensors"));
    let mut written = Vec::new();
    for file in ["state.safetensors", "state.pth"] {
        let mut checkpoint = Checkpoint::open(data(&format!("formats/{file}"))).unwrap();
        for (key, text) in [("note", "as it is"), ("format", "pt"), ("a", "1"), ("z", "2")] {
            checkpoint.metadata_mut().insert(key.into(), text.into());
        }
        let path = folder.path().join(file);
        checkpoint.save(&path, false).unwrap();
        assert_eq!(oracle(path.to_str().unwrap()), expected);
        let again = Checkpoint::open(&path).unwrap();
        assert_eq!(again.metadata(), checkpoint.metadata());
        let bytes = fs::read(&path).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(header % 8, 0, "tensors are aligned");
        written.push(bytes);
    }
    assert!(written[0] == written[1], "the same tensors give the same bytes");
}

#[test]
fn an_existing_file_stays_unless_it_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "mine").unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a", tensor(&[2], |index| index as f32));
    let text = format!(
        "Checkpoint::save: {}: expected a new file, or leave to overwrite it, got an existing one",
        path.display()
    );
    refused(checkpoint.save(&path, false), ErrorKind::File, &text);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    checkpoint.save(&path, true).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().values("a").unwrap().sum(), 1.0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");

    let missing = folder.path().join("missing/file");
    assert_eq!(checkpoint.save(missing, false).unwrap_err().kind, ErrorKind::File);
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_permissions_of_new_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
    fs::write(folder.path().join("other"), "").unwrap();
    Checkpoint::new().save(folder.path().join("ours"), false).unwrap();
    assert_eq!(mode("ours"), mode("other"));
}

#[test]
fn an_open_file_can_be_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a", tensor(&[2], |index| index as f32));
    checkpoint.save(&path, false).unwrap();
    let mut opened = Checkpoint::open(&path).unwrap();
    opened.insert("b", tensor(&[1], |_| 3.0));
    opened.save(&path, true).unwrap();
    let again = Checkpoint::open(&path).unwrap();
    assert_eq!(again.tensors().len(), 2);
    assert_eq!(again.values("a").unwrap().sum(), 1.0);
}

#[test]
fn tensors_are_as_long_as_their_shapes_say() {
    refused(
        Tensor::new(Dtype::F32, &[2, 3], &[0; 23]),
        ErrorKind::Shape,
        "Tensor::new: data: expected 24 bytes for F32 [2, 3], got 23",
    );
    refused(
        Tensor::new(Dtype::F32, &[usize::MAX, 3], &[]),
        ErrorKind::Overflow,
        "Tensor::new: shape: expected a size that fits the address space, in whole bytes, got F32 \
         [18446744073709551615, 3]",
    );
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("__metadata__", tensor(&[1], |_| 0.0));
    let folder = tempfile::tempdir().unwrap();
    refused(
        checkpoint.save(folder.path().join("file"), false),
        ErrorKind::Config,
        "Checkpoint::save: name: expected another name: this one is the metadata's, got \
         __metadata__",
    );
}
