//! PyTorch's files as `torch.save` writes a state dict: an archive of a pickle, which says what the
//! tensors are, and of an entry for each with its elements.

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::archive_writer::{Entry, expect_countable};
use super::described::Described;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};

/// What the archive of these tensors consists of.
pub fn entries<'a>(operation: Operation, tensors: &[Described<'a>]) -> Result<Vec<Entry<'a>>> {
    let mut pickle = Pickle::default();
    pickle.state_dict(operation, tensors)?;
    if u32::try_from(pickle.bytes.len()).is_err() {
        let expected = "names and shapes in a pickle of at most 4 GiB, or the format safetensors";
        return Err(operation.error(ErrorKind::Overflow, "name", expected, pickle.bytes.len()));
    }
    let file = |name: &str, start: &[u8]| Entry {
        name: format!("archive/{name}"),
        start: start.to_vec(),
        tensor: None,
    };
    let mut entries = vec![file("data.pkl", &pickle.bytes), file("byteorder", b"little")];
    entries.extend(tensors.iter().enumerate().map(|(index, described)| Entry {
        tensor: Some(described.name),
        ..file(&format!("data/{index}"), b"")
    }));
    entries.push(file("version", b"3\n"));
    Ok(entries)
}

/// How PyTorch stores elements.
enum Storage {
    /// A class of its own, of old.
    Typed(&'static str),
    /// Bytes, of which the tensor tells the type.
    Untyped(&'static str),
}

fn storage(operation: Operation, name: &str, dtype: Dtype) -> Result<Storage> {
    Ok(match dtype {
        Dtype::BOOL => Storage::Typed("BoolStorage"),
        Dtype::I8 => Storage::Typed("CharStorage"),
        Dtype::U8 => Storage::Typed("ByteStorage"),
        Dtype::I16 => Storage::Typed("ShortStorage"),
        Dtype::I32 => Storage::Typed("IntStorage"),
        Dtype::I64 => Storage::Typed("LongStorage"),
        Dtype::F16 => Storage::Typed("HalfStorage"),
        Dtype::BF16 => Storage::Typed("BFloat16Storage"),
        Dtype::F32 => Storage::Typed("FloatStorage"),
        Dtype::F64 => Storage::Typed("DoubleStorage"),
        Dtype::C64 => Storage::Typed("ComplexFloatStorage"),
        Dtype::U16 => Storage::Untyped("uint16"),
        Dtype::U32 => Storage::Untyped("uint32"),
        Dtype::U64 => Storage::Untyped("uint64"),
        Dtype::F8_E4M3 => Storage::Untyped("float8_e4m3fn"),
        Dtype::F8_E5M2 => Storage::Untyped("float8_e5m2"),
        Dtype::F8_E8M0 => Storage::Untyped("float8_e8m0fnu"),
        Dtype::F8_E4M3FNUZ => Storage::Untyped("float8_e4m3fnuz"),
        Dtype::F8_E5M2FNUZ => Storage::Untyped("float8_e5m2fnuz"),
        // Of F4 PyTorch has pairs alone.
        _ => {
            let expected = "an element type that PyTorch has, or the format safetensors";
            return Err(operation.error(ErrorKind::Format, shown(name), expected, dtype));
        }
    })
}

/// A pickle of protocol 2, in the opcodes of Python's `pickletools`.
#[derive(Default)]
struct Pickle {
    bytes: Vec<u8>,
    /// Where in the unpickler's memo the modules' members are that have been needed.
    memo: BTreeMap<[&'static str; 2], u8>,
}

impl Pickle {
    /// The whole: an `OrderedDict` of tensors.
    fn state_dict(&mut self, operation: Operation, tensors: &[Described]) -> Result<()> {
        self.bytes.extend(b"\x80\x02"); // PROTO 2
        self.ordered_dict();
        self.bytes.push(b'('); // MARK
        for (index, described) in tensors.iter().enumerate() {
            self.text(described.name);
            self.tensor(operation, index, described)?;
        }
        self.bytes.extend(b"u."); // SETITEMS, STOP
        Ok(())
    }

    /// A call of what puts a tensor together: storage, offset, shape, strides, no gradient, no hooks and
    /// for untyped storages the element type.
    fn tensor(&mut self, operation: Operation, index: usize, described: &Described) -> Result<()> {
        let &Described { name, dtype, ref shape } = described;
        let storage = storage(operation, name, dtype)?;
        expect_countable(operation, name, dtype, shape)?;
        let elements = shape.iter().product();
        match storage {
            Storage::Typed(class) => {
                self.member("torch._utils", "_rebuild_tensor_v2");
                self.bytes.push(b'(');
                self.storage(["torch", class], index, elements);
            }
            Storage::Untyped(_) => {
                self.member("torch._utils", "_rebuild_tensor_v3");
                self.bytes.push(b'(');
                let class = ["torch.storage", "UntypedStorage"];
                self.storage(class, index, elements * (dtype.bitsize() / 8));
            }
        }
        self.integer(0);
        self.integers(shape);
        self.integers(&strides(shape));
        self.bytes.push(0x89); // NEWFALSE
        self.ordered_dict();
        if let Storage::Untyped(dtype) = storage {
            self.member("torch", dtype);
        }
        self.bytes.extend(b"tR"); // TUPLE, REDUCE
        Ok(())
    }

    /// The entry of that number, by what PyTorch calls its persistent id.
    fn storage(&mut self, [module, class]: [&'static str; 2], index: usize, len: usize) {
        self.bytes.push(b'(');
        self.text("storage");
        self.member(module, class);
        self.text(&index.to_string());
        self.text("cpu");
        self.integer(len);
        self.bytes.extend(b"tQ"); // TUPLE, BINPERSID
    }

    /// An empty `OrderedDict`.
    fn ordered_dict(&mut self) {
        self.member("collections", "OrderedDict");
        self.bytes.extend(b")R"); // EMPTY_TUPLE, REDUCE
    }

    /// A member of a module. There are fewer than the memo's short places: an element type has two at
    /// most.
    fn member(&mut self, module: &'static str, name: &'static str) {
        let place = self.memo.len() as u8;
        if let Some(&place) = self.memo.get(&[module, name]) {
            self.bytes.extend([b'h', place]); // BINGET
            return;
        }
        self.memo.insert([module, name], place);
        self.bytes.extend(format!("c{module}\n{name}\nq").as_bytes()); // GLOBAL, BINPUT
        self.bytes.push(place);
    }

    fn text(&mut self, text: &str) {
        self.bytes.push(b'X'); // BINUNICODE
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn integers(&mut self, integers: &[usize]) {
        self.bytes.push(b'(');
        integers.iter().for_each(|&integer| self.integer(integer));
        self.bytes.push(b't');
    }

    /// One of at most 63 bits, in as few bytes as its opcodes have.
    fn integer(&mut self, integer: usize) {
        let bytes = (integer as u64).to_le_bytes();
        let (opcode, len): (&[u8], usize) = match integer as u64 {
            0..=0xff => (b"K", 1),               // BININT1
            0x100..=0xffff => (b"M", 2),         // BININT2
            0x1_0000..=0x7fff_ffff => (b"J", 4), // BININT
            _ => (b"\x8a\x08", 8),               // LONG1 of eight bytes
        };
        self.bytes.extend(opcode);
        self.bytes.extend(bytes.iter().take(len));
    }
}

/// Elements from one index to the next, of each axis; extents of zero count as one.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut stride = 1usize;
    let mut strides = vec![0; shape.len()];
    for (target, extent) in strides.iter_mut().zip(shape).rev() {
        *target = stride;
        stride = stride.saturating_mul((*extent).max(1));
    }
    strides
}
