//! Files that are no checkpoints, or not such as are read here: what they are, by how they begin.

/// How files begin, and what they are.
const STARTS: &[(&[u8], &str)] = &[
    (
        b"version https://git-lfs",
        "a git-LFS pointer, in the place of the file: git lfs pull fetches it",
    ),
    (b"\x1f\x8b", "a gzip file: gunzip unpacks it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: unzstd unpacks it"),
    (b"BZh", "a bzip2 file: bunzip2 unpacks it"),
    (b"\xfd7zXZ\0", "an xz file: unxz unpacks it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras' .h5: numpy.savez of its arrays makes an .npz file",
    ),
    (b"\x93NUMPY", "a .npy file, which has one array and no names: numpy.savez makes an .npz file"),
    (b"GGUF", "a GGUF file"),
    (b"\x89PNG", "a PNG image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
];

/// What a file is by its first bytes, if that is known and no checkpoint.
pub fn of_start(start: &[u8]) -> Option<&'static str> {
    if start.is_empty() {
        return Some("an empty file");
    }
    let known = STARTS.iter().find(|(bytes, _)| start.starts_with(bytes));
    if let Some((_, what)) = known {
        return Some(what);
    }
    if start.get(257..262) == Some(b"ustar") {
        return Some(
            "a tar archive: what is in it, or a file saved by a newer PyTorch, may be read",
        );
    }
    // The version of the format, and then the producer's name or the graph: fields of a protocol buffer.
    if let [0x08, 1..=20, 0x12 | 0x3a | 0x42, ..] = start {
        return Some("an ONNX model");
    }
    let text = text(start)?;
    if text.starts_with('<') {
        return Some("an HTML page or XML, as a server sends in the place of a file");
    }
    // A pickle of the oldest protocol is text as well.
    let is_pickle = text.starts_with(['(', 'c', 'I', 'L', 'F', 'N', 'S', 'V', 'P', ']', '}', ')'])
        && text.contains(['\n', '.']);
    match text.starts_with(['{', '[']) {
        true => Some("a text file, of JSON maybe"),
        false if is_pickle => None,
        false => Some("a text file"),
    }
}

/// The beginning of a file that is text: printable, but for a last character that is cut.
fn text(start: &[u8]) -> Option<&str> {
    let valid = match str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let text = valid.trim_start_matches('\u{feff}').trim_start();
    let is_printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    (!text.is_empty() && text.chars().all(is_printable)).then_some(text)
}

/// What an archive with entries of these names is, if it is known and no checkpoint.
pub fn of_entries(names: &[String]) -> Option<&'static str> {
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    if has("model.weights.h5") {
        return Some("a Keras model, whose weights are an HDF5 file");
    }
    if has("constants.pkl") || names.iter().any(|name| name.contains("/code/")) {
        return Some(
            "a TorchScript archive: torch.save(model.state_dict(), FILE) makes a checkpoint",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_how_they_begin() {
        for (start, what) in [
            (&b""[..], Some("an empty file")),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n",
                Some("a git-LFS pointer"),
            ),
            (b"\n<!DOCTYPE html>", Some("an HTML page")),
            (b"\x08\x08\x12\x07pytorch", Some("an ONNX model")),
            (b"{\"error\": 404}", Some("a text file, of JSON")),
            (b"Not found", Some("a text file")),
            ("Größe".as_bytes(), Some("a text file")),
            (b"\x80\x02}q\x00.", None),
            (b"}p0\n.", None),
            (b"cos\nsystem\n(S'true'\ntR.", None),
            (b"\x93NUMPY\x01\x00", Some("a .npy file")),
            (b"\x00\x01", None),
        ] {
            match (of_start(start), what) {
                (Some(got), Some(what)) => assert!(got.starts_with(what), "{got} {what}"),
                (got, what) => assert_eq!(got, what),
            }
        }
    }
}
