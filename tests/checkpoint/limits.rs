//! What readers and writers take at most, each limit from both sides, and the checksums that they compare.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use do_conv::ErrorKind;
use do_conv::checkpoint::{Checkpoint, Dtype, OpenOptions};
use zip::CompressionMethod::{self, Deflated, Stored};

use super::hostile::{archive, npy, open, safetensors};
use super::pickle::{Pickled, pickle};
use super::{data, tensor};
use crate::common::refused;

/// Opens a file whose tensors may take so many bytes.
fn open_with(bytes: &[u8], max_bytes: u64) -> do_conv::Result<Checkpoint> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Checkpoint::open_with(file.path(), &OpenOptions::default().max_bytes(max_bytes))
}

#[test]
fn all_tensors_together_take_at_most_max_bytes() {
    let file = safetensors(
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
            "b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}"#,
        11,
    );
    assert_eq!(open_with(&file, 11).unwrap().tensors().len(), 2);
    refused(
        open_with(&file, 10),
        ErrorKind::Overflow,
        "Checkpoint::open: max_bytes: expected tensors of at most 10 bytes together (max_bytes), got 11",
    );
}

/// A PyTorch file of one stored number, `len` times.
fn repeated(len: u32) -> Vec<u8> {
    let pickle =
        pickle(&Pickled { storage: "FloatStorage", dtype: None, stored: 1, len, stride: 0 });
    archive(&[("a/data.pkl", &pickle), ("a/data/0", &1.5f32.to_le_bytes())], Stored)
}

#[test]
fn a_tensor_repeats_a_stored_number_at_most_to_eight_times_the_file_and_a_mebibyte() {
    assert_eq!(open(&repeated(3)).unwrap().values("w").unwrap().as_slice().unwrap(), [1.5; 3]);
    let most = 8 * repeated(1).len() + (1 << 20);
    let checkpoint = open(&repeated((most / 4) as u32)).unwrap();
    assert_eq!(checkpoint.read("w").unwrap().len(), most);
    let text = format!(
        "Checkpoint::open: max_bytes: expected tensors of at most {most} bytes together (max_bytes), \
         got {}",
        most + 4
    );
    refused(open(&repeated((most / 4) as u32 + 1)), ErrorKind::Overflow, &text);
    // Eight gigabytes.
    #[cfg(target_pointer_width = "64")]
    assert_eq!(open(&repeated(i32::MAX as u32)).unwrap_err().kind, ErrorKind::Overflow);
}

#[test]
fn an_archive_unpacks_to_at_most_max_bytes_with_what_is_no_tensor() {
    let array = npy("{'descr':'|u1','fortran_order':False,'shape':(5,)}", 5);
    for method in [Stored, Deflated] {
        let file = archive(&[("a.npy", &array)], method);
        let most = array.len() as u64;
        open_with(&file, most).unwrap();
        let text = format!(
            "Checkpoint::open: max_bytes: expected an archive of at most {} bytes unpacked (max_bytes), \
             got {most}",
            most - 1
        );
        refused(open_with(&file, most - 1), ErrorKind::Overflow, &text);
    }
}

#[test]
fn a_header_has_at_most_100_000_000_bytes() {
    // Mostly a hole.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(100_000_100).unwrap();
    let mut open = |len: u64| {
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&[&len.to_le_bytes()[..], b"{"].concat()).unwrap();
        Checkpoint::open(file.path())
    };
    refused(
        open(100_000_001),
        ErrorKind::Format,
        "Checkpoint::open: header: expected a header within the file's 100000100 bytes, of at most \
         100000000, got one of 100000001",
    );
    let error = open(100_000_000).unwrap_err();
    assert_eq!(error.expected, "a JSON object of tensors, each name once", "{error}");

    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.metadata_mut().insert("a".into(), "x".repeat(100_000_000));
    refused(
        checkpoint.save(folder.path().join("file"), false),
        ErrorKind::Overflow,
        "Checkpoint::save: header: expected a header of at most 100000000 bytes, got 100000032",
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// The archive with one bit of the checksums in its table of contents the other way.
fn other_checksums(mut file: Vec<u8>) -> Vec<u8> {
    let entries: Vec<_> =
        (0..file.len()).filter(|&at| file[at..].starts_with(b"PK\x01\x02")).collect();
    assert!(!entries.is_empty());
    entries.into_iter().for_each(|at| file[at + 16] ^= 1);
    file
}

/// The archive with one bit of the stored numbers the other way.
fn other_numbers(mut file: Vec<u8>, numbers: &[u8]) -> Vec<u8> {
    let at = file.windows(numbers.len()).position(|window| window == numbers).unwrap();
    file[at + numbers.len() / 2] ^= 1;
    file
}

#[test]
fn checksums_of_arrays_are_compared() {
    let numbers: Vec<u8> = (0..40).map(|number| number * 3 + 1).collect();
    let mut array = npy("{'descr':'<f4','fortran_order':False,'shape':(10,)}", 0);
    array.extend(&numbers);
    let is_refused = |file: &[u8]| {
        let error = open(file).and_then(|opened| opened.read("a").map(drop)).unwrap_err();
        assert_eq!((error.kind, &*error.field), (ErrorKind::Format, "a"), "{error}");
        assert_eq!(error.got, "Invalid checksum", "{error}");
    };
    let file = |method: CompressionMethod| archive(&[("a.npy", &array)], method);
    assert_eq!(open(&file(Deflated)).unwrap().read("a").unwrap(), numbers);
    is_refused(&other_checksums(file(Stored)));
    is_refused(&other_checksums(file(Deflated)));
    is_refused(&other_numbers(file(Stored), &numbers));
}

#[test]
fn an_array_that_unpacks_to_more_than_is_announced() {
    let array = npy("{'descr':'<f4','fortran_order':False,'shape':(4,)}", 1 << 20);
    let mut file = archive(&[("a.npy", &array)], Deflated);
    // In the entry's own head and in the table of contents, the size of an array of four elements.
    let size = (array.len() - (1 << 20) + 16) as u32;
    let contents = file.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    for at in [22, contents + 24] {
        file[at..at + 4].copy_from_slice(&size.to_le_bytes());
    }
    let opened = open(&file).unwrap();
    let error = opened.read("a").unwrap_err();
    assert_eq!((error.kind, &*error.field), (ErrorKind::Format, "a"), "{error}");
}

#[test]
fn checksums_of_whole_storages_are_compared() {
    let numbers: Vec<u8> = (0..40).map(|number| number * 3 + 1).collect();
    let pickle =
        pickle(&Pickled { storage: "FloatStorage", dtype: None, stored: 10, len: 10, stride: 1 });
    let file = |method| archive(&[("a/data.pkl", &pickle), ("a/data/0", &numbers)], method);
    let is_refused = |file: &[u8]| {
        let error = open(file).and_then(|opened| opened.read("w").map(drop)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Format, "{error}");
        assert!(error.got.contains("Invalid checksum"), "{error}");
    };
    assert_eq!(open(&file(Deflated)).unwrap().read("w").unwrap(), numbers);
    is_refused(&other_checksums(file(Deflated)));
    is_refused(&other_numbers(file(Stored), &numbers));
}

#[test]
fn bytes_that_end_early_are_the_file_s_fault() {
    // In an archive, before the array begins and within its header.
    for len in [5, 30] {
        let array = npy("{'descr':'<f4','fortran_order':False,'shape':(1,)}", 4);
        let error = open(&archive(&[("a.npy", &array[..len])], Stored)).unwrap_err();
        assert_eq!((error.kind, &*error.field), (ErrorKind::Format, "a"), "{error}");
    }
    // Behind the reader's back.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::copy(data("formats/state.safetensors"), &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let error = checkpoint.read("bool").unwrap_err();
    assert_eq!((error.kind, &*error.field), (ErrorKind::Format, "bool"), "{error}");
    let error = checkpoint.save(folder.path().join("other"), false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Format, "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is written");
}

#[test]
fn tensors_of_more_than_is_read_at_a_time() {
    // A little more than two portions of numbers, and more than one of bytes.
    let len = 2 * (1 << 15) + 1001;
    let number = |index: usize| (index * 7 % 10007) as f32;
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a", tensor(&[3], number));
    checkpoint.insert("b", tensor(&[len], number));
    checkpoint.insert("c.W", tensor(&[1, 1, 1], number));
    let bytes: Vec<u8> = (0..len).map(number).flat_map(f32::to_le_bytes).collect();
    let paths = ["first", "second", "folded"].map(|name| folder.path().join(name));
    checkpoint.save(&paths[0], false).unwrap();
    let opened = Checkpoint::open(&paths[0]).unwrap();
    opened.save(&paths[1], false).unwrap();
    opened.fold(&paths[2], &Default::default()).unwrap();
    for path in paths {
        let opened = Checkpoint::open(path).unwrap();
        assert!(opened.read("b").unwrap() == bytes);
        assert!(
            opened.values("b").unwrap().iter().copied().eq((0..len).map(number).map(f64::from))
        );
    }
    assert!(checkpoint.values("b").unwrap()[[len - 1]] == f64::from(number(len - 1)));
}

#[test]
fn an_archive_with_a_pickle_is_pytorch_s() {
    let pickle =
        pickle(&Pickled { storage: "ByteStorage", dtype: None, stored: 1, len: 1, stride: 1 });
    let array = npy("{'descr':'|u1','fortran_order':False,'shape':(1,)}", 1);
    for folder in ["", "a/"] {
        let names = ["data.pkl", "data/0", "b.npy"].map(|name| format!("{folder}{name}"));
        let contents = [&pickle[..], &[7], &array[..]];
        let entries: Vec<_> = names.iter().map(String::as_str).zip(contents).collect();
        let checkpoint = open(&archive(&entries, Stored)).unwrap();
        assert_eq!(checkpoint.tensors().map(|(name, _)| name).collect::<Vec<_>>(), ["w"]);
        assert_eq!(checkpoint.read("w").unwrap()[..], [7]);
    }
}

#[test]
fn element_types_of_pytorch() {
    for (storage, dtype, size, expected) in [
        ("DoubleStorage", None, 8, Dtype::F64),
        ("FloatStorage", None, 4, Dtype::F32),
        ("HalfStorage", None, 2, Dtype::F16),
        ("BFloat16Storage", None, 2, Dtype::BF16),
        ("LongStorage", None, 8, Dtype::I64),
        ("IntStorage", None, 4, Dtype::I32),
        ("ShortStorage", None, 2, Dtype::I16),
        ("CharStorage", None, 1, Dtype::I8),
        ("ByteStorage", None, 1, Dtype::U8),
        ("BoolStorage", None, 1, Dtype::BOOL),
        ("UntypedStorage", Some("uint16"), 2, Dtype::U16),
        ("UntypedStorage", Some("uint32"), 4, Dtype::U32),
        ("UntypedStorage", Some("uint64"), 8, Dtype::U64),
    ] {
        let bytes: Vec<u8> = (0..3 * size as u8).map(|byte| byte % 2).collect();
        let stored = if dtype.is_some() { 3 * size } else { 3 };
        let pickle = pickle(&Pickled { storage, dtype, stored, len: 3, stride: 1 });
        let file = archive(&[("data.pkl", &pickle), ("data/0", &bytes)], Stored);
        let checkpoint = open(&file).unwrap();
        let tensor = checkpoint.get("w").unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (expected, &[3][..]), "{storage}");
        assert_eq!(checkpoint.read("w").unwrap(), bytes, "{storage}");
    }
}
