//! NumPy's `.npz` as `numpy.savez` writes it: an archive of arrays of version 1.0, each `NAME.npy`.

use std::collections::BTreeSet;

use safetensors::Dtype;

use super::archive_writer::{Entry, expect_countable};
use super::described::Described;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};

/// Headers are filled up to a multiple of it.
const ALIGNMENT: usize = 64;

/// The most axes that NumPy has.
const MAX_RANK: usize = 64;

/// Bytes of the longest name that has room in an archive's table of contents, where 65,535 are all that an
/// entry can have.
const MAX_NAME: usize = 65_400;

/// What the archive of these tensors consists of.
pub fn entries<'a>(operation: Operation, tensors: &[Described<'a>]) -> Result<Vec<Entry<'a>>> {
    let names: BTreeSet<&str> = tensors.iter().map(|described| described.name).collect();
    let entry = |described: &Described<'a>| {
        let &Described { name, dtype, ref shape } = described;
        expect_name(operation, name, &names)?;
        let type_string = type_string(operation, name, dtype)?;
        expect_countable(operation, name, dtype, shape)?;
        if shape.len() > MAX_RANK {
            let expected = format!("at most {MAX_RANK} axes, which NumPy has, or another format");
            return Err(operation.error(ErrorKind::Shape, shown(name), expected, shape.len()));
        }
        let start = header(type_string, shape);
        Ok(Entry { name: format!("{name}.npy"), start, tensor: Some(name) })
    };
    tensors.iter().map(entry).collect()
}

/// Refuses a name that NumPy would take for another: it cuts names at a zero, and finds `a.npy` by the
/// name `a`.
fn expect_name(operation: Operation, name: &str, names: &BTreeSet<&str>) -> Result<()> {
    let expected = match name.strip_suffix(".npy") {
        _ if name.contains('\0') => "a name without a zero character, or another format",
        _ if name.len() > MAX_NAME => "a name of at most 65400 bytes, or another format",
        Some(short) if names.contains(short) => {
            "no name that is another's with .npy, or another format"
        }
        _ => return Ok(()),
    };
    Err(operation.error(ErrorKind::Config, "name", expected, shown(name)))
}

/// The type as NumPy writes it; the byte order goes before what has one.
fn type_string(operation: Operation, name: &str, dtype: Dtype) -> Result<&'static str> {
    Ok(match dtype {
        Dtype::BOOL => "|b1",
        Dtype::I8 => "|i1",
        Dtype::U8 => "|u1",
        Dtype::I16 => "<i2",
        Dtype::U16 => "<u2",
        Dtype::I32 => "<i4",
        Dtype::U32 => "<u4",
        Dtype::I64 => "<i8",
        Dtype::U64 => "<u8",
        Dtype::F16 => "<f2",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        Dtype::C64 => "<c8",
        _ => {
            let expected = "an element type that NumPy has, or the format safetensors or pytorch";
            return Err(operation.error(ErrorKind::Format, shown(name), expected, dtype));
        }
    })
}

/// What comes before the elements.
fn header(type_string: &str, shape: &[usize]) -> Vec<u8> {
    let shape = match shape {
        [extent] => format!("({extent},)"),
        _ => {
            let extents: Vec<_> = shape.iter().map(usize::to_string).collect();
            format!("({})", extents.join(", "))
        }
    };
    let text = format!("{{'descr': '{type_string}', 'fortran_order': False, 'shape': {shape}, }}");
    // The magic, the version, the text's length, the text and a line feed.
    let len = (10 + text.len() + 1).next_multiple_of(ALIGNMENT);
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    // 64 extents of 20 digits are far from 65,535 bytes.
    header.extend(((len - 10) as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header.resize(len - 1, b' ');
    header.push(b'\n');
    header
}
