//! The header of a NumPy array: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::{self, Read};

use safetensors::Dtype;

/// The longest header that is read, which NumPy takes for hostile too.
const MAX_HEADER: usize = 10_000;

/// The most axes that NumPy has.
const MAX_RANK: usize = 64;

/// What a `.npy` file says of its array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Whether the first index runs fastest.
    pub fortran_order: bool,
    pub big_endian: bool,
    /// Bytes up to the first element.
    pub len: usize,
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

impl Header {
    /// Reads a header; the elements follow. [`io::ErrorKind::Unsupported`] says that no tensor has these.
    pub fn read(reader: &mut impl Read) -> io::Result<Self> {
        let mut start = [0; 8];
        reader.read_exact(&mut start)?;
        let [magic @ .., major, _] = start;
        if magic != *b"\x93NUMPY" {
            return Err(invalid("not a NumPy array"));
        }
        let (text_len, before) = match major {
            1 => {
                let mut len = [0; 2];
                reader.read_exact(&mut len)?;
                (u16::from_le_bytes(len).into(), 10)
            }
            2 | 3 => {
                let mut len = [0; 4];
                reader.read_exact(&mut len)?;
                (u32::from_le_bytes(len) as usize, 12)
            }
            other => return Err(invalid(format!("version {other} of the NumPy format"))),
        };
        if text_len > MAX_HEADER {
            return Err(invalid(format!("a header of {text_len} bytes, {MAX_HEADER} are allowed")));
        }
        let mut text = vec![0; text_len];
        reader.read_exact(&mut text)?;
        let text = str::from_utf8(&text).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { len: before + text_len, ..Literal(text).header()? })
    }
}

/// The rest of a Python dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
struct Literal<'t>(&'t str);

impl<'t> Literal<'t> {
    fn header(mut self) -> io::Result<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect("{")?;
        while !self.take("}") {
            let key = self.string()?;
            self.expect(":")?;
            let again = match key {
                "descr" => descr.replace(self.string()?).is_some(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.integers()?).is_some(),
                _ => return Err(invalid(format!("an unknown key '{key}' in the header"))),
            };
            if again {
                return Err(invalid(format!("'{key}' twice in the header")));
            }
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        if !self.0.trim().is_empty() {
            return Err(invalid("more than a dictionary in the header"));
        }
        let missing = |key| invalid(format!("no '{key}' in the header"));
        let (dtype, big_endian) = element_type(descr.ok_or_else(|| missing("descr"))?)?;
        Ok(Header {
            dtype,
            shape: shape.ok_or_else(|| missing("shape"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            big_endian,
            len: 0,
        })
    }

    /// Whether `token` comes next; takes it then.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.0.trim_start().strip_prefix(token);
        rest.inspect(|rest| self.0 = rest).is_some()
    }

    fn expect(&mut self, token: &str) -> io::Result<()> {
        if self.take(token) {
            return Ok(());
        }
        let rest: String = self.0.trim_start().chars().take(20).collect();
        Err(invalid(format!("'{token}' expected in the header, found '{rest}'")))
    }

    fn string(&mut self) -> io::Result<&'t str> {
        for quote in ["'", "\""] {
            if self.take(quote) {
                let (text, rest) =
                    self.0.split_once(quote).ok_or_else(|| invalid("a string without end"))?;
                self.0 = rest;
                return Ok(text);
            }
        }
        // Lists describe records.
        match self.0.trim_start().starts_with('[') {
            true => Err(other_elements("an array of records".to_owned())),
            false => Err(invalid("a string expected in the header")),
        }
    }

    fn boolean(&mut self) -> io::Result<bool> {
        if self.take("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn integers(&mut self) -> io::Result<Vec<usize>> {
        let mut integers = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            self.0 = self.0.trim_start();
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (digits, rest) = self.0.split_at(end);
            let integer = digits.parse().map_err(|_| invalid(format!("an extent '{digits}'")))?;
            integers.push(integer);
            if integers.len() > MAX_RANK {
                return Err(invalid(format!("more than {MAX_RANK} extents")));
            }
            self.0 = rest;
            self.take("L"); // as Python 2 wrote it
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(integers)
    }
}

/// The error for an array of elements that no tensor has.
fn other_elements(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// The element type of a type string as `<f4`, and whether it is big-endian.
pub fn element_type(descr: &str) -> io::Result<(Dtype, bool)> {
    let unknown = || {
        let kind = descr.trim_start_matches(['<', '>', '|', '=']).chars().next();
        other_elements(match kind {
            Some('U') => "an array of strings".to_owned(),
            Some('S' | 'a') => "an array of byte strings".to_owned(),
            Some('M' | 'm') => "an array of dates or times".to_owned(),
            Some('O') => "an array of objects".to_owned(),
            _ => format!("an array of elements '{}'", descr.escape_debug()),
        })
    };
    let (big_endian, name) = match descr.split_at_checked(1) {
        Some(("<" | "|" | "=", name)) => (false, name),
        Some((">", name)) => (true, name),
        _ => return Err(unknown()),
    };
    let dtype = match name {
        "b1" => Dtype::BOOL,
        "i1" => Dtype::I8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "u1" => Dtype::U8,
        "u2" => Dtype::U16,
        "u4" => Dtype::U32,
        "u8" => Dtype::U64,
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "c8" => Dtype::C64,
        _ => return Err(unknown()),
    };
    Ok((dtype, big_endian))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Header> {
        read_as(1, text)
    }

    /// Reads a header of that version of the format.
    fn read_as(version: u8, text: &str) -> io::Result<Header> {
        let mut file = b"\x93NUMPY".to_vec();
        file.extend([version, 0]);
        let len = (text.len() as u32).to_le_bytes();
        file.extend(&len[..if version == 1 { 2 } else { 4 }]);
        file.extend(text.as_bytes());
        Header::read(&mut &file[..])
    }

    #[test]
    fn headers_as_numpy_writes_them() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }          \n";
        let header = read(text).unwrap();
        assert_eq!(header.len, 10 + text.len());
        assert_eq!((header.dtype, header.shape), (Dtype::F32, vec![3, 4]));
        assert_eq!((header.fortran_order, header.big_endian), (false, false));

        let header = read("{'descr': '>i8', 'fortran_order': True, 'shape': (5,)}").unwrap();
        assert_eq!((header.dtype, header.shape), (Dtype::I64, vec![5]));
        assert_eq!((header.fortran_order, header.big_endian), (true, true));

        let header = read("{'shape': (), 'descr': '|b1', 'fortran_order': False}").unwrap();
        assert_eq!((header.dtype, header.shape), (Dtype::BOOL, vec![]));
        let old = read("{'shape': (3L, 4L), 'descr': '|u1', 'fortran_order': False}").unwrap();
        assert_eq!(old.shape, [3, 4]);
    }

    #[test]
    fn versions_of_the_format() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n";
        for (version, before) in [(1, 10), (2, 12), (3, 12)] {
            assert_eq!(read_as(version, text).unwrap().len, before + text.len());
        }
        for version in [0, 4] {
            let error = read_as(version, text).unwrap_err();
            assert_eq!(error.to_string(), format!("version {version} of the NumPy format"));
        }
        let error = Header::read(&mut &b"\x93NUMPX\x01\x00\x00\x00"[..]).unwrap_err();
        assert_eq!(error.to_string(), "not a NumPy array");
    }

    #[test]
    fn element_types() {
        for (name, dtype) in [
            ("b1", Dtype::BOOL),
            ("i1", Dtype::I8),
            ("i2", Dtype::I16),
            ("i4", Dtype::I32),
            ("i8", Dtype::I64),
            ("u1", Dtype::U8),
            ("u2", Dtype::U16),
            ("u4", Dtype::U32),
            ("u8", Dtype::U64),
            ("f2", Dtype::F16),
            ("f4", Dtype::F32),
            ("f8", Dtype::F64),
            ("c8", Dtype::C64),
        ] {
            for (order, big_endian) in [("<", false), ("=", false), ("|", false), (">", true)] {
                let text =
                    format!("{{'descr': '{order}{name}', 'fortran_order': False, 'shape': ()}}");
                let header = read(&text).unwrap();
                assert_eq!((header.dtype, header.big_endian), (dtype, big_endian), "{text}");
            }
        }
    }

    #[test]
    fn headers_and_shapes_up_to_numpy_s_own_limits() {
        let of = |rank: usize| {
            let shape = "1,".repeat(rank);
            read(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape})}}"))
        };
        assert_eq!(of(64).unwrap().shape, [1; 64]);
        assert_eq!(of(65).unwrap_err().to_string(), "more than 64 extents");
        let filled = |len: usize| {
            let text = "{'descr': '<f4', 'fortran_order': False, 'shape': ()}";
            read(&format!("{text:len$}"))
        };
        assert_eq!(filled(10_000).unwrap().len, 10_010);
        let error = filled(10_001).unwrap_err();
        assert_eq!(error.to_string(), "a header of 10001 bytes, 10000 are allowed");
    }

    #[test]
    fn other_headers_are_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': '<f4', 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } x",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'more': 1}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}",
            "{'descr': '<f4",
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text}: {error}");
        }
    }

    #[test]
    fn elements_that_no_tensor_has_are_told() {
        for (descr, what) in [
            ("'|O'", "an array of objects"),
            ("'<U7'", "an array of strings"),
            ("'|S3'", "an array of byte strings"),
            ("'<M8[ns]'", "an array of dates or times"),
            ("'<c16'", "an array of elements '<c16'"),
            ("''", "an array of elements ''"),
            ("'é4'", "an array of elements 'é4'"),
            ("[('a', '<f4')]", "an array of records"),
        ] {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (3,)}}");
            let error = read(&text).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string()),
                (io::ErrorKind::Unsupported, what.into())
            );
        }
    }
}
