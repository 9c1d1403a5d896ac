//! Files that lie, call, blow up or end early: an error, and memory within bounds.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use do_conv::checkpoint::{Checkpoint, FoldOptions, LayerOptions, OpenOptions};
use do_conv::{Error, ErrorKind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::data;
use crate::common::refused;

pub fn open(bytes: &[u8]) -> do_conv::Result<Checkpoint> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Checkpoint::open(file.path())
}

/// A safetensors file of that header and so many zeros.
pub fn safetensors(header: &str, zeros: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; zeros]].concat()
}

pub fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

pub fn npy(header: &str, zeros: usize) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(vec![0; zeros]);
    file
}

/// Opens, reads and folds; whatever comes of it.
fn use_it(bytes: &[u8]) -> Result<(), Error> {
    let checkpoint = open(bytes)?;
    for (name, _) in checkpoint.tensors() {
        checkpoint.read(name)?;
    }
    checkpoint.layers(&LayerOptions::default())?;
    checkpoint.check_fold(&FoldOptions::default())?;
    Ok(())
}

#[test]
fn lying_safetensors_headers() {
    let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    for (header, zeros, kind, text) in [
        (
            format!("{{{a}}}"),
            7,
            ErrorKind::Format,
            "a: expected data_offsets within the file's 7 bytes, got [0, 8]",
        ),
        (
            format!("{{{a}}}"),
            9,
            ErrorKind::Format,
            "header: expected tensors of 9 bytes, to the file's end, got 8 bytes",
        ),
        (
            format!("{{{a},{a}}}"),
            8,
            ErrorKind::Format,
            "header: expected a JSON object of tensors, each name once, got the name \"a\" twice at \
          line 1 column 107",
        ),
        (
            format!(r#"{{"__metadata__":{{}},{a},"__metadata__":{{}}}}"#),
            8,
            ErrorKind::Format,
            "header: expected a JSON object of tensors, each name once, got the name \"__metadata__\" \
             twice at line 1 column 90",
        ),
        (
            format!("{{{a},{}}}", a.replace("\"a\"", "\"b\"")),
            8,
            ErrorKind::Format,
            "b: expected data_offsets from 8 on, where the tensor before ends, got 0",
        ),
        (
            format!("{{{a},{}}}", a.replace("\"a\"", "\"b\"").replace("[0,8]", "[4,12]")),
            12,
            ErrorKind::Format,
            "b: expected data_offsets from 8 on, where the tensor before ends, got 4",
        ),
        (
            format!("{{{}}}", a.replace("[0,8]", "[4,12]")),
            12,
            ErrorKind::Format,
            "a: expected data_offsets from 0 on, where the tensor before ends, got 4",
        ),
        (
            format!("{{{}}}", a.replace("[0,8]", "[8,0]")),
            8,
            ErrorKind::Format,
            "a: expected data_offsets within the file's 8 bytes, got [8, 0]",
        ),
        (
            format!("{{{}}}", a.replace("[0,8]", "[18446744073709551615,18446744073709551615]")),
            8,
            ErrorKind::Format,
            "a: expected data_offsets within the file's 8 bytes, got [18446744073709551615, \
             18446744073709551615]",
        ),
        (
            format!("{{{}}}", a.replace("[2]", "[3]")),
            8,
            ErrorKind::Format,
            "a: expected 12 bytes for F32 [3], got 8",
        ),
        (
            format!("{{{}}}", a.replace("[2]", "[4294967296,4294967296]")),
            8,
            ErrorKind::Overflow,
            "a: expected a size that fits the address space, in whole bytes, got F32 [4294967296, \
          4294967296]",
        ),
        (
            // 2⁶⁴ bits.
            format!("{{{}}}", a.replace("[2]", "[576460752303423488]")),
            8,
            ErrorKind::Overflow,
            "a: expected a size that fits the address space, in whole bytes, got F32 \
             [576460752303423488]",
        ),
        (
            format!("{{{}}}", a.replace("F32", "F4").replace("[2]", "[1]")),
            8,
            ErrorKind::Overflow,
            "a: expected a size that fits the address space, in whole bytes, got F4 [1]",
        ),
    ] {
        let text = format!("Checkpoint::open: {text}");
        refused(open(&safetensors(&header, zeros)), kind, &text);
    }
    for header in [
        a.replace("[0,8]", "[0,18446744073709551616]"),
        a.replace("[2]", "[-2]"),
        a.replace("F32", "F31"),
        a.replace("[2]", "[2.5]"),
        a.replace(r#""dtype":"F32","#, ""),
        r#""a":7"#.to_owned(),
        format!(r#""a":{}"#, "[".repeat(100_000)),
        format!(r#""a":{{"dtype":"F32","shape":[2],"more":{}"#, "[".repeat(100_000)),
        r#""__metadata__":{"a":1}"#.to_owned(),
        r#""__metadata__":{},"__metadata__":{}"#.to_owned(),
    ] {
        let error = open(&safetensors(&format!("{{{header}}}"), 8)).unwrap_err();
        assert_eq!((error.kind, &*error.field), (ErrorKind::Format, "header"), "{error}");
        // Not for want of tensors.
        assert_eq!(error.expected, "a JSON object of tensors, each name once", "{error}");
        assert!(error.to_string().len() < 500, "{error}");
    }
}

#[test]
fn lengths_beyond_the_file() {
    for len in [u64::MAX, u64::MAX - 7, i64::MAX as u64, 1 << 40, 100_000_001, 93] {
        let file = [&len.to_le_bytes()[..], &b"{".repeat(92)].concat();
        let error = open(&file).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Format);
        let got = format!("got one of {len}");
        assert!(error.to_string().ends_with(&got), "{error}");
    }
}

#[test]
fn an_error_shows_no_control_characters_of_a_name() {
    let header = r#"{"\u001b[31m\n":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}}"#;
    refused(
        open(&safetensors(header, 9)),
        ErrorKind::Format,
        "Checkpoint::open: \\u{1b}[31m\\n: expected 8 bytes for F32 [2], got 9",
    );
    let long =
        format!(r#"{{"{}":{{"dtype":"F32","shape":[2],"data_offsets":[0,9]}}}}"#, "x".repeat(9999));
    let error = open(&safetensors(&long, 9)).unwrap_err();
    assert!(error.to_string().len() < 500, "{error}");
}

#[test]
fn pickles_are_parsed_and_not_called() {
    let folder = tempfile::tempdir().unwrap();
    let here = std::env::current_dir().unwrap();
    let checkpoint = Checkpoint::open(data("formats/call.pth")).unwrap();
    assert_eq!(checkpoint.tensors().map(|(name, _)| name).collect::<Vec<_>>(), ["f32"]);
    assert_eq!(checkpoint.values("f32").unwrap()[[1, 2, 3]], 11.5);
    let objects = Checkpoint::open(data("formats/objects.npz")).unwrap();
    assert_eq!(objects.opened().passed_over_text(), "objects (an array of objects)");
    for folder in [folder.path(), &here] {
        assert!(!folder.join("do-conv-was-here").exists());
    }
}

#[test]
fn hostile_pickles() {
    // Deep lists, memo bombs, lengths of 2⁶⁴−1, a persistent id of nonsense, an empty stack.
    let memo_bomb: Vec<u8> = {
        let mut pickle = b"\x80\x02]q\x00".to_vec();
        for _ in 0..40 {
            pickle.extend(b"(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00lq\x00");
        }
        pickle.push(b'.');
        pickle
    };
    for pickle in [
        b"]".repeat(100_000),
        [b"(".repeat(100_000), b".".to_vec()].concat(),
        [b"]".repeat(100_000), b"a".repeat(99_999), b".".to_vec()].concat(),
        memo_bomb,
        b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff.".to_vec(),
        b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.".to_vec(),
        b"\x80\x02Q.".to_vec(),
        b"\x80\x02}Q.".to_vec(),
        b"\x80\x02.".to_vec(),
        b"cos\nsystem\n(S'true'\ntR.".to_vec(),
        Vec::new(),
    ] {
        for file in [
            archive(&[("a/data.pkl", &pickle)], CompressionMethod::Stored),
            archive(&[("data.pkl", &pickle)], CompressionMethod::Deflated),
            pickle,
        ] {
            let kind = open(&file).expect_err("hostile").kind;
            assert!(matches!(kind, ErrorKind::Format | ErrorKind::Overflow), "{kind:?}");
        }
    }
}

#[test]
fn bombs_are_not_unpacked() {
    let mega = 1 << 20;
    let header = format!("{{'descr':'<f4','fortran_order':False,'shape':({mega},64)}}");
    let bomb = npy(&header, 256 * mega);
    let bomb = archive(&[("a.npy", &bomb)], CompressionMethod::Deflated);
    assert!(bomb.len() < mega);
    let error = open(&bomb).unwrap_err();
    assert_eq!((error.kind, &*error.field), (ErrorKind::Overflow, "max_bytes"), "{error}");

    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bomb).unwrap();
    let options = OpenOptions::default().max_bytes(257 * mega as u64);
    assert!(Checkpoint::open_with(file.path(), &options).is_ok());

    // Sizes that are announced and not there.
    for (zeros, header) in [
        (16, "{'descr':'<f4','fortran_order':False,'shape':(1099511627776,)}"),
        (16, "{'descr':'<f4','fortran_order':False,'shape':(4611686018427387904,4)}"),
        (16, "{'descr':'<f4','fortran_order':True,'shape':(0,4611686018427387904,4)}"),
        (12, "{'descr':'<f4','fortran_order':False,'shape':(4,)}"),
        (20, "{'descr':'<f4','fortran_order':False,'shape':(4,)}"),
    ] {
        let file = archive(&[("a.npy", &npy(header, zeros))], CompressionMethod::Stored);
        let kind = open(&file).unwrap_err().kind;
        assert!(matches!(kind, ErrorKind::Format | ErrorKind::Overflow), "{header}: {kind:?}");
    }
}

#[test]
fn pickles_and_shapes_of_enormous_size() {
    for pickle in [b"N".repeat(30 << 20), b"]".repeat(3 << 20)] {
        let file = archive(&[("a/data.pkl", &pickle)], CompressionMethod::Deflated);
        assert!(file.len() < 100_000);
        assert_eq!(open(&file).unwrap_err().kind, ErrorKind::Overflow);
    }
    let shape = "1,".repeat(4000);
    let header = format!("{{'descr':'<f4','fortran_order':False,'shape':({shape})}}");
    let file = archive(&[("a.npy", &npy(&header, 4))], CompressionMethod::Deflated);
    assert!(open(&file).unwrap_err().got.contains("more than 64 extents"));
}

#[test]
fn archives_with_a_name_twice() {
    let header = "{'descr':'<f4','fortran_order':False,'shape':(1,)}";
    let mut file = archive(
        &[("a.npy", &npy(header, 4)), ("b.npy", &npy(header, 4))],
        CompressionMethod::Stored,
    );
    for at in 0..file.len() - 5 {
        if file[at..].starts_with(b"b.npy") {
            file[at] = b'a';
        }
    }
    refused(
        open(&file),
        ErrorKind::Format,
        "Checkpoint::open: format: expected each name of the archive once, got one twice",
    );
    let file =
        archive(&[("a.npy", &npy(header, 4)), ("a", &npy(header, 4))], CompressionMethod::Stored);
    refused(
        open(&file),
        ErrorKind::Format,
        "Checkpoint::open: a: expected each name once, got it twice",
    );
}

#[test]
fn files_that_end_early_or_have_wrong_bytes() {
    for name in
        ["state.safetensors", "state.pth", "state_legacy.pth", "state.npz", "state_compressed.npz"]
    {
        let file = fs::read(data(&format!("formats/{name}"))).unwrap();
        for len in (0..file.len()).step_by(7) {
            assert!(use_it(&file[..len]).is_err(), "{name} of {len} bytes");
        }
        for at in (0..file.len()).step_by(11) {
            for wrong in [0, 0x7f, 0xff, file[at] ^ 1] {
                let mut file = file.clone();
                file[at] = wrong;
                let _ = use_it(&file);
            }
        }
    }
}

#[test]
fn other_files() {
    for (bytes, got) in [
        (&b""[..], "an empty file"),
        (b"# a text", "a text file"),
        (b"PK\x03\x04 and no archive", "archive"),
        (b"\x93NUMPY\x01\x00", "a .npy file"),
    ] {
        let error = open(bytes).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Format);
        assert!(error.got.contains(got), "{error}");
    }
    let empty = archive(&[("readme.txt", b"text")], CompressionMethod::Stored);
    assert!(open(&empty).unwrap_err().got.contains("an archive with none"));
    #[cfg(unix)]
    refused(
        Checkpoint::open("/dev/null"),
        ErrorKind::File,
        "Checkpoint::open: /dev/null: expected a readable file, got not a regular file",
    );
    for path in [Path::new("/"), Path::new("missing.pth")] {
        assert_eq!(Checkpoint::open(path).unwrap_err().kind, ErrorKind::File);
    }
}
