//! Reads pickles, of all protocols, into graphs of values: <https://docs.python.org/3/library/pickletools.html>.
//! Nothing that a pickle asks for is called, and what is made is bounded.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};

use super::value::{Graph, Id, Object, Read, Value};
use crate::checkpoint::text::{OPEN, shown};
use crate::checkpoint::unreadable::unreadable;
use crate::error::{Error, ErrorKind};

/// The most values of a pickle, which take some hundred bytes each. A state dict has about 20 a tensor.
const MAX_VALUES: usize = 1 << 21;

/// A machine with a stack, as the format describes it.
struct Machine<R> {
    reader: R,
    graph: Graph,
    stack: Vec<Id>,
    /// The stack's lengths at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

/// Reads a pickle, to its end and no further: the values, and which of them is the whole.
pub fn read(reader: impl BufRead) -> Read<(Graph, Id)> {
    let mut machine = Machine {
        reader,
        graph: Graph::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let code = machine.byte()?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok((machine.graph, root));
        }
        machine.step(code)?;
    }
}

/// The error for what is no pickle.
pub fn broken(expected: &str, got: impl std::fmt::Display) -> Error {
    OPEN.error(ErrorKind::Format, "pickle", expected, shown(&got.to_string()))
}

impl<R: BufRead> Machine<R> {
    fn step(&mut self, code: u8) -> Read<()> {
        let value = match code {
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            0x80 => return self.bytes(1).map(drop), // the protocol
            0x95 => return self.bytes(8).map(drop), // a frame's length
            b'0' => return self.discard(),
            b'1' => return self.marked().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                return Ok(());
            }
            b'g' | b'h' | b'j' => return self.recall(code),
            b'p' | b'q' | b'r' | 0x94 => return self.memorize(code),
            b'a' | b'e' | 0x90 => return self.append(code),
            b's' | b'u' => return self.set_items(code),
            b'b' => return self.build(),
            0x98 => return self.top().map(drop), // a buffer that may not be written to
            b'c' | b'i' | b'o' | b'R' | 0x81 | 0x92 | 0x93 => self.call(code)?,
            b'P' => {
                let line = Value::Text(self.line()?.into());
                let line = self.make(line)?;
                Value::Persistent(line)
            }
            b'Q' => Value::Persistent(self.pop()?),
            b't' => Value::Tuple(self.marked()?),
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(code - 0x84));
                let start =
                    start.filter(|start| self.marks.last().is_none_or(|mark| mark <= start));
                let start = start.ok_or_else(|| broken("values of a tuple", "an empty stack"))?;
                Value::Tuple(self.stack.split_off(start))
            }
            b'l' => Value::List(self.marked()?),
            b'd' => {
                let values = self.marked()?;
                Value::Dict(values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
            }
            0x91 => Value::Set(self.marked()?),
            0x82..=0x84 => {
                self.bytes(1 << (code - 0x82))?;
                Value::Unknown
            }
            _ => self.constant(code)?,
        };
        let id = self.make(value)?;
        self.stack.push(id);
        Ok(())
    }

    /// A value that is there in the pickle itself.
    fn constant(&mut self, code: u8) -> Read<Value> {
        Ok(match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b')' => Value::Tuple(Vec::new()),
            b']' => Value::List(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            0x8f => Value::Set(Vec::new()),
            0x97 => Value::Unknown, // a buffer out of the pickle
            b'J' => Value::Int(self.number(4)? as u32 as i32 as i128),
            b'K' => Value::Int(self.number(1)?.into()),
            b'M' => Value::Int(self.number(2)?.into()),
            b'I' | b'L' => match self.line()?.trim_end_matches('L') {
                "00" if code == b'I' => Value::Bool(false),
                "01" if code == b'I' => Value::Bool(true),
                text => text.parse().map_or(Value::Large, Value::Int),
            },
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'F' => {
                let line = self.line()?;
                Value::Float(line.parse().map_err(|_| broken("a float", &line))?)
            }
            b'G' => Value::Float(f64::from_bits(self.number(8)?.swap_bytes())),
            b'S' => {
                let line = self.line()?;
                Value::Text(line.trim_matches(['\'', '"']).into())
            }
            b'V' => Value::Text(unescaped(&self.line()?).into()),
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'T' => latin1(&self.counted(4)?),
            b'U' => latin1(&self.counted(1)?),
            b'B' => Value::Bytes(self.counted(4)?.into()),
            b'C' => Value::Bytes(self.counted(1)?.into()),
            0x8e | 0x96 => Value::Bytes(self.counted(8)?.into()),
            other => return Err(broken("an operation of a pickle", format!("0x{other:02x}"))),
        })
    }

    /// A class, or what a call would give.
    fn call(&mut self, code: u8) -> Read<Value> {
        let (class, arguments) = match code {
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                return Ok(Value::Class(name.into()));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| self.graph.text(id).unwrap_or("");
                return Ok(Value::Class(format!("{}.{}", text(module), text(name)).into()));
            }
            b'i' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                let class = self.make(Value::Class(name.into()))?;
                let arguments = Value::Tuple(self.marked()?);
                (class, self.make(arguments)?)
            }
            b'o' => {
                let mut values = self.marked()?;
                if values.is_empty() {
                    return Err(broken("a class", "none"));
                }
                let class = values.remove(0);
                (class, self.make(Value::Tuple(values))?)
            }
            0x92 => {
                self.pop()?; // arguments by their names
                let arguments = self.pop()?;
                (self.pop()?, arguments)
            }
            _ => {
                let arguments = self.pop()?;
                (self.pop()?, arguments)
            }
        };
        Ok(Value::Object(Box::new(Object {
            class,
            arguments,
            state: None,
            items: Vec::new(),
            elements: Vec::new(),
        })))
    }

    fn discard(&mut self) -> Read<()> {
        // A mark that nothing follows goes itself.
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn recall(&mut self, code: u8) -> Read<()> {
        let at = match code {
            b'g' => self.decimal()?,
            b'h' => self.number(1)?,
            _ => self.number(4)?,
        };
        let id = self.memo.get(&at).copied();
        self.stack.push(id.ok_or_else(|| broken("a value kept before", format!("number {at}")))?);
        Ok(())
    }

    fn memorize(&mut self, code: u8) -> Read<()> {
        let at = match code {
            b'p' => self.decimal()?,
            b'q' => self.number(1)?,
            b'r' => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn append(&mut self, code: u8) -> Read<()> {
        let values = if code == b'a' { vec![self.pop()?] } else { self.marked()? };
        let target = self.top()?;
        match self.graph.get_mut(target) {
            Some(Value::List(list)) => list.extend(values),
            Some(Value::Object(object)) => object.elements.extend(values),
            Some(Value::Set(set)) => set.extend(values),
            _ => return Err(broken("a list to append to", self.graph.what(target))),
        }
        Ok(())
    }

    fn set_items(&mut self, code: u8) -> Read<()> {
        let values = match code {
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.marked()?,
        };
        let pairs = values.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let target = self.top()?;
        match self.graph.get_mut(target) {
            Some(Value::Dict(dict)) => dict.extend(pairs),
            Some(Value::Object(object)) => object.items.extend(pairs),
            _ => return Err(broken("a dictionary to put into", self.graph.what(target))),
        }
        Ok(())
    }

    fn build(&mut self) -> Read<()> {
        let state = self.pop()?;
        let target = self.top()?;
        if let Some(Value::Object(object)) = self.graph.get_mut(target) {
            object.state = Some(state);
        }
        Ok(())
    }

    fn make(&mut self, value: Value) -> Read<Id> {
        if self.graph.len() >= MAX_VALUES {
            let expected = format!("a pickle of at most {MAX_VALUES} values");
            return Err(OPEN.error(ErrorKind::Overflow, "pickle", expected, "more"));
        }
        Ok(self.graph.push(value))
    }

    fn top(&self) -> Read<Id> {
        let mark = self.marks.last().copied().unwrap_or(0);
        let top = self.stack.last().filter(|_| self.stack.len() > mark);
        top.copied().ok_or_else(|| broken("a value", "an empty stack"))
    }

    fn pop(&mut self) -> Read<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// What is on the stack since the last mark.
    fn marked(&mut self) -> Read<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| broken("a mark", "none"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn byte(&mut self) -> Read<u8> {
        self.number(1).map(|byte| byte as u8)
    }

    /// That many bytes, for which memory is asked as they come.
    fn bytes(&mut self, len: u64) -> Read<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(len).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(OPEN, "pickle", &error))?;
        if (bytes.len() as u64) < len {
            return Err(unreadable(OPEN, "pickle", &io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    /// A little-endian number of at most eight bytes.
    fn number(&mut self, len: usize) -> Read<u64> {
        let mut bytes = [0; 8];
        let read = self.reader.read_exact(&mut bytes[..len]);
        read.map_err(|error| unreadable(OPEN, "pickle", &error))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn counted(&mut self, len: usize) -> Read<Vec<u8>> {
        let count = self.number(len)?;
        self.bytes(count)
    }

    fn text(&mut self, len: usize) -> Read<Value> {
        // Python lets half a surrogate pair pass, which is no text.
        let bytes = self.counted(len)?;
        Ok(Value::Text(String::from_utf8_lossy(&bytes).into()))
    }

    fn long(&mut self, len: usize) -> Read<Value> {
        let bytes = self.counted(len)?;
        if bytes.len() > 16 {
            return Ok(Value::Large);
        }
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 16];
        wide[..bytes.len()].copy_from_slice(&bytes);
        Ok(Value::Int(i128::from_le_bytes(wide)))
    }

    fn line(&mut self) -> Read<String> {
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line);
        read.map_err(|error| unreadable(OPEN, "pickle", &error))?;
        if line.pop() != Some(b'\n') {
            return Err(unreadable(OPEN, "pickle", &io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
    }

    fn decimal(&mut self) -> Read<u64> {
        let line = self.line()?;
        line.parse().map_err(|_| broken("a number", &line))
    }
}

/// A text of Python 2, a byte a character.
fn latin1(bytes: &[u8]) -> Value {
    Value::Text(bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into())
}

/// A text with its `\u` and `\U` escapes, of four and eight digits, replaced.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let digits = match rest.as_bytes().get(at + 1) {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        let code = rest.get(at + 2..at + 2 + digits);
        let c = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        match c {
            Some(c) if digits > 0 => plain.push(c),
            _ => plain.push_str(rest.get(at..at + 2 + digits).unwrap_or(&rest[at..])),
        }
        rest = rest.get(at + 2 + digits..).unwrap_or("");
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pickle: &[u8]) -> String {
        let (graph, root) = read(pickle).unwrap();
        match graph.get(root) {
            Value::Object(_) => graph.what(root),
            value => format!("{value:?}"),
        }
    }

    #[test]
    fn constants_of_all_protocols() {
        for (pickle, expected) in [
            (&b"N."[..], "None"),
            (b"I01\n.", "Bool(true)"),
            (b"I-12\n.", "Int(-12)"),
            (b"L119547037146038801333356L\n.", "Int(119547037146038801333356)"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "Int(119547037146038801333356)"),
            (b"\x8a\x01\xff.", "Int(-1)"),
            (b"\x8a\x00.", "Int(0)"),
            (b"J\xfe\xff\xff\xff.", "Int(-2)"),
            (b"M\x00\x80.", "Int(32768)"),
            (b"F1.5\n.", "Float(1.5)"),
            (b"G?\xf8\x00\x00\x00\x00\x00\x00.", "Float(1.5)"),
            (b"S'a b'\n.", "Text(\"a b\")"),
            (b"V\\u00e9a\\n\n.", "Text(\"éa\\\\n\")"),
            (b"U\x01\xe9.", "Text(\"é\")"),
            (b"X\x02\x00\x00\x00\xc3\xa9.", "Text(\"é\")"),
            (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.", "Text(\"a\")"),
            (b"C\x02ab.", "Bytes([97, 98])"),
            (b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "Bytes([97])"),
            (b"(K\x01K\x020K\x03t.", "Tuple([0, 2])"),
            (b"]q\x00(K\x01h\x00e.", "List([1, 0])"),
            (b"}K\x01Ns(NNu.", "Dict([(1, 2), (3, 4)])"),
            (b"\x8f(K\x01\x90.", "Set([1])"),
            (b"\x82\x07.", "Unknown"),
            (b"cos\nsystem\n.", "Class(\"os.system\")"),
            (b"\x8c\x02os\x8c\x06system\x93.", "Class(\"os.system\")"),
            (b"(S'x'\nios\nsystem\n.", "an object of os.system"),
            (b"(cos\nsystem\nS'x'\no.", "an object of os.system"),
            (b"cos\nsystem\n)\x81.", "an object of os.system"),
            (b"cos\nsystem\n)}\x92}b.", "an object of os.system"),
            (b"Pkey\n.", "Persistent(0)"),
            (b"((1K\x07.", "Int(7)"),
        ] {
            assert_eq!(whole(pickle), expected, "{}", pickle.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_pickle_is_refused() {
        for pickle in [
            &b"."[..],
            b"",
            b"K",
            b"(.",
            b"\x85.",
            b"(K\x01(\x85.",
            b"h\x00.",
            b"t.",
            b"NNs.",
            b"NNNs.",
            b"\xff.",
            b"Fx\n.",
            b"gx\n.",
            b"X\xff\xff\xff\xffa.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffa.",
            b"(o.",
            b"c os",
        ] {
            let error = read(pickle).map(drop).expect_err("no pickle");
            assert_eq!(error.kind, ErrorKind::Format, "{}", pickle.escape_ascii());
        }
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let mut pickle = vec![b'N'; MAX_VALUES];
        pickle.push(b'.');
        assert!(read(&pickle[..]).is_ok());
        pickle.insert(0, b'N');
        assert_eq!(read(&pickle[..]).map(drop).unwrap_err().kind, ErrorKind::Overflow);
    }
}
