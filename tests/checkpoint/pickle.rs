//! Pickles of PyTorch's files written by hand, opcode by opcode; Python's `pickletools` names these.

/// A tensor of one axis, as a pickle describes it.
pub struct Pickled<'a> {
    /// The class of its storage.
    pub storage: &'a str,
    /// Its element type, where the storage's class has none.
    pub dtype: Option<&'a str>,
    /// Elements of the storage, bytes of an untyped one.
    pub stored: u32,
    /// Elements of the tensor.
    pub len: u32,
    /// Distance of two of its elements.
    pub stride: u8,
}

fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn integer(integer: u32) -> Vec<u8> {
    [&b"J"[..], &integer.to_le_bytes()].concat()
}

/// A pickled dictionary of one tensor `w`, whose storage is `0`.
pub fn pickle(tensor: &Pickled) -> Vec<u8> {
    let &Pickled { storage, dtype, stored, len, stride } = tensor;
    let version = if dtype.is_some() { 3 } else { 2 };
    [
        b"\x80\x02}".to_vec(), // protocol 2, a dictionary
        text("w"),
        global("torch._utils", &format!("_rebuild_tensor_v{version}")),
        // The arguments: of these the storage first, a persistent object.
        b"((".to_vec(),
        text("storage"),
        global("torch", storage),
        text("0"),
        text("cpu"),
        integer(stored),
        b"tQK\x00".to_vec(), // and the offset of its first element
        integer(len),
        b"\x85".to_vec(),
        vec![b'K', stride, 0x85],
        b"\x89".to_vec(), // requires no gradient
        global("collections", "OrderedDict"),
        b")R".to_vec(),
        dtype.map(|dtype| global("torch", dtype)).unwrap_or_default(),
        b"tRs.".to_vec(),
    ]
    .concat()
}
