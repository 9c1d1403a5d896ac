//! Files of every format, read and written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use do_conv::ErrorKind;
use do_conv::checkpoint::{Checkpoint, Dtype, OpenOptions, Tensor};
use safetensors::SafeTensors;
use zip::CompressionMethod;

use super::hostile::{archive, npy, open};
use super::{data, tensor};
use crate::common::refused;

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
    let found = Checkpoint::open(data("formats/nested.pth")).unwrap();
    assert_eq!(found.opened().key.as_deref(), Some("state_dict"));
    assert!(found.get("block.0.weight").is_some());
    let whole = OpenOptions::default().key(".");
    let checkpoint = Checkpoint::open_with(data("formats/nested.pth"), &whole).unwrap();
    assert!(checkpoint.get("state_dict.block.0.weight").is_some());
    let stripped = whole.strip_prefix("state_dict.block.");
    let stripped = Checkpoint::open_with(data("formats/nested.pth"), &stripped).unwrap();
    assert!(stripped.get("0.weight").is_some() && stripped.get("state_dict.f32").is_some());

    let key = OpenOptions::default().key("model");
    refused(
        Checkpoint::open_with(data("formats/nested.pth"), &key),
        ErrorKind::Config,
        "Checkpoint::open: key: expected a key of the file, state_dict, got model",
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
fn files_are_those_of_the_safetensors_crate() {
    let bytes = fs::read(data("formats/state.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let expected = safetensors::serialize(tensors.tensors(), None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut checkpoint = Checkpoint::open(data("formats/state.pth")).unwrap();
    checkpoint.metadata_mut().clear();
    checkpoint.save(&path, false).unwrap();
    assert!(fs::read(&path).unwrap() == expected);
}

/// An array of that type with one axis, and its numbers, `b` in a NumPy archive.
fn array(descr: &str, fortran_order: &str, shape: &str, numbers: &[u8]) -> Checkpoint {
    let header = format!("{{'descr':'{descr}','fortran_order':{fortran_order},'shape':({shape})}}");
    let mut array = npy(&header, 0);
    array.extend(numbers);
    open(&archive(&[("b.npy", &array)], CompressionMethod::Stored)).unwrap()
}

#[test]
fn numpy_s_numbers_of_the_other_byte_order() {
    for (descr, number) in [
        ("i2", 2),
        ("u2", 2),
        ("f2", 2),
        ("i4", 4),
        ("f4", 4),
        ("u8", 8),
        ("f8", 8),
        ("c8", 4), // two numbers
    ] {
        let little: Vec<u8> = (0..16).collect();
        let big: Vec<u8> =
            little.chunks(number).flat_map(|number| number.iter().rev()).copied().collect();
        let len = if descr == "c8" { 2 } else { 16 / number };
        let read = |order: &str, numbers: &[u8]| {
            let checkpoint =
                array(&format!("{order}{descr}"), "False", &format!("{len},"), numbers);
            checkpoint.read("b").unwrap().into_owned()
        };
        assert_eq!(read("<", &little), little, "{descr}");
        assert_eq!(read("=", &little), little, "{descr}");
        assert_eq!(read(">", &big), little, "{descr}");
    }
}

#[test]
fn numpy_s_arrays_with_the_first_index_fastest() {
    // Element [i, j, k] has the number 12i + 4j + k, in its first byte.
    for (descr, size) in [("u1", 1), ("i2", 2), ("f4", 4), ("f8", 8), ("c8", 8)] {
        let element =
            |number: usize| (0..size).map(move |byte| if byte == 0 { number as u8 } else { 0 });
        let rows: Vec<u8> = (0..24).flat_map(element).collect();
        let columns =
            (0..4).flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| 12 * i + 4 * j + k)));
        let columns: Vec<u8> = columns.flat_map(element).collect();
        let descr = format!("<{descr}");
        assert_eq!(array(&descr, "True", "2,3,4", &columns).read("b").unwrap(), rows, "{descr}");
        assert_eq!(array(&descr, "False", "2,3,4", &rows).read("b").unwrap(), rows, "{descr}");
    }
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
    refused(checkpoint.save(&path, false), ErrorKind::Exists, &text);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    checkpoint.save(&path, true).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().values("a").unwrap().sum(), 1.0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");

    let missing = folder.path().join("missing/file");
    assert_eq!(checkpoint.save(missing, false).unwrap_err().kind, ErrorKind::File);
}

#[cfg(unix)]
#[test]
fn a_link_is_no_new_file_and_a_folder_no_file_to_overwrite() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let [nowhere, inside] = ["nowhere", "inside"].map(|name| folder.path().join(name));
    symlink(folder.path().join("missing"), &nowhere).unwrap();
    symlink(folder.path(), &inside).unwrap();
    let refusal = |path: &Path, overwrite, kind, text| {
        let text = format!("Checkpoint::save: {}: expected {text}", path.display());
        refused(Checkpoint::new().save(path, overwrite), kind, &text);
        assert!(path.is_symlink());
    };
    let [new, regular] = [
        "a new file, or leave to overwrite it, got an existing one",
        "a regular file to overwrite, got another kind of thing",
    ];
    refusal(&nowhere, false, ErrorKind::Exists, new);
    refusal(&inside, true, ErrorKind::File, regular);
    Checkpoint::new().save(&nowhere, true).unwrap();
    assert!(!nowhere.is_symlink() && nowhere.is_file());
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
