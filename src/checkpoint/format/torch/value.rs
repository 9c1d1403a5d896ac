//! What a pickle describes: a graph of values, in which one object may stand in several places.

use crate::error::Error;

/// A value's place in its graph.
pub type Id = u32;

/// A value as a pickle describes it. Nothing is called: what a call would give is an [`Object`].
#[derive(Debug)]
pub enum Value {
    None,
    Bool(bool),
    Int(i128),
    /// An integer of more than 128 bits.
    Large,
    Float(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or a function: its module, a dot and its name.
    Class(Box<str>),
    /// What the pickle leaves to its reader, as the storages of tensors.
    Persistent(Id),
    Object(Box<Object>),
    /// A buffer or an extension, which this reader has no place for.
    Unknown,
}

/// What a class or a function would make of its arguments, and what is put into that afterwards.
#[derive(Debug)]
pub struct Object {
    pub class: Id,
    pub arguments: Id,
    pub state: Option<Id>,
    pub items: Vec<(Id, Id)>,
    pub elements: Vec<Id>,
}

/// The key of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A text, or an integer in decimal.
    Name(String),
    /// Another key, as Python shows it; no tensor can be named by that.
    Other(String),
}

impl Key {
    pub fn text(&self) -> &str {
        match self {
            Self::Name(text) | Self::Other(text) => text,
        }
    }
}

/// The values of a pickle.
#[derive(Debug, Default)]
pub struct Graph {
    values: Vec<Value>,
}

impl Graph {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn push(&mut self, value: Value) -> Id {
        self.values.push(value);
        (self.values.len() - 1) as Id
    }

    pub fn get(&self, id: Id) -> &Value {
        self.values.get(id as usize).unwrap_or(&Value::Unknown)
    }

    pub fn get_mut(&mut self, id: Id) -> Option<&mut Value> {
        self.values.get_mut(id as usize)
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn integer(&self, id: Id) -> Option<usize> {
        match *self.get(id) {
            Value::Int(integer) => integer.try_into().ok(),
            _ => None,
        }
    }

    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(values) => Some(values),
            _ => None,
        }
    }

    /// A tuple, or an object that a tuple is made into, of integers.
    pub fn integers(&self, id: Id) -> Option<Vec<usize>> {
        let values = match self.get(id) {
            Value::List(values) => values,
            Value::Object(object) => self.tuple(*self.tuple(object.arguments)?.first()?)?,
            _ => self.tuple(id)?,
        };
        values.iter().map(|&value| self.integer(value)).collect()
    }

    /// The name of a class or function, with its module.
    pub fn class(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Class(name) => Some(name),
            _ => None,
        }
    }

    pub fn object(&self, id: Id) -> Option<(&str, &Object)> {
        match self.get(id) {
            Value::Object(object) => Some((self.class(object.class).unwrap_or(""), object)),
            _ => None,
        }
    }

    /// The bytes of a bytes object; those of older protocols are texts to be encoded.
    pub fn bytes(&self, id: Id) -> Option<Vec<u8>> {
        if let Value::Bytes(bytes) = self.get(id) {
            return Some(bytes.to_vec());
        }
        let ("_codecs.encode", Object { arguments, .. }) = self.object(id)? else { return None };
        let text = self.text(*self.tuple(*arguments)?.first()?)?;
        text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
    }

    /// The keys and values of a dictionary or of an object that is one.
    pub fn pairs(&self, id: Id) -> Option<Vec<(Id, Id)>> {
        let (class, object) = match self.get(id) {
            Value::Dict(pairs) => return Some(pairs.clone()),
            Value::Object(object) => (self.class(object.class).unwrap_or(""), object),
            _ => return None,
        };
        let arguments = self.tuple(object.arguments).unwrap_or_default();
        let mut pairs = match (class, arguments) {
            // A subclass of a builtin class, as the older protocols have it.
            ("copy_reg._reconstructor" | "copyreg._reconstructor", &[_, _, base]) => {
                self.pairs_of_base(base)
            }
            ("collections.OrderedDict" | "collections.Counter", &[pairs]) => {
                Some(self.pairs_of_base(pairs)?)
            }
            ("collections.OrderedDict" | "collections.defaultdict", _) => Some(Vec::new()),
            _ => None,
        };
        if !object.items.is_empty() {
            pairs.get_or_insert_default().extend(&object.items);
        }
        pairs
    }

    /// The pairs of a plain dictionary, or of a list of pairs.
    fn pairs_of_base(&self, id: Id) -> Option<Vec<(Id, Id)>> {
        match self.get(id) {
            Value::Dict(pairs) => Some(pairs.clone()),
            Value::List(values) | Value::Tuple(values) => {
                let pair = |&id: &Id| match self.get(id) {
                    Value::List(pair) | Value::Tuple(pair) => {
                        <[Id; 2]>::try_from(&pair[..]).ok().map(|[key, value]| (key, value))
                    }
                    _ => None,
                };
                values.iter().map(pair).collect()
            }
            _ => None,
        }
    }

    /// The elements of a list, a tuple or an object that is one.
    pub fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::List(values) | Value::Tuple(values) => Some(values),
            Value::Object(object) if !object.elements.is_empty() => Some(&object.elements),
            _ => None,
        }
    }

    /// The members of a set, in any order.
    pub fn members(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Set(values) => Some(values),
            Value::Object(object) => self.elements(*self.tuple(object.arguments)?.first()?),
            _ => None,
        }
    }

    /// The value of a dictionary's entry.
    pub fn entry(&self, id: Id, name: &str) -> Option<Id> {
        let pairs = self.pairs(id)?;
        pairs
            .into_iter()
            .rev()
            .find(|&(key, _)| self.text(key) == Some(name))
            .map(|(_, value)| value)
    }

    /// What an object was given as its attributes.
    pub fn attributes(&self, id: Id) -> Option<Id> {
        let (_, object) = self.object(id)?;
        let state = object.state?;
        // With slots it is a pair.
        Some(match self.tuple(state) {
            Some(&[attributes, _]) => attributes,
            _ => state,
        })
    }

    /// A key as a part of names.
    pub fn key(&self, id: Id) -> Key {
        match self.get(id) {
            Value::Text(text) => Key::Name(text.to_string()),
            Value::Int(integer) => Key::Name(integer.to_string()),
            _ => Key::Other(self.shown(id)),
        }
    }

    /// A value as Python shows it, shortened.
    fn shown(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "None".to_owned(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Int(integer) => integer.to_string(),
            Value::Float(float) => format!("{float:?}"),
            Value::Text(text) => format!("'{text}'"),
            Value::Bytes(bytes) => format!("b'{}'", bytes.escape_ascii()),
            Value::Tuple(values) => {
                // A tuple in a tuple may hold itself.
                let shown = values.iter().map(|&value| match self.get(value) {
                    Value::Tuple(_) => "(…)".to_owned(),
                    _ => self.shown(value),
                });
                match &shown.collect::<Vec<_>>()[..] {
                    [single] => format!("({single},)"),
                    several => format!("({})", several.join(", ")),
                }
            }
            _ if self.bytes(id).is_some() => {
                format!("b'{}'", self.bytes(id).unwrap_or_default().escape_ascii())
            }
            _ => format!("<{}>", self.what(id)),
        }
    }

    /// What kind of value it is.
    pub fn what(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "None".to_owned(),
            Value::Bool(_) => "a boolean".to_owned(),
            Value::Int(_) | Value::Large => "an integer".to_owned(),
            Value::Float(_) => "a float".to_owned(),
            Value::Text(_) => "a string".to_owned(),
            Value::Bytes(_) => "bytes".to_owned(),
            Value::Tuple(_) => "a tuple".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Set(_) => "a set".to_owned(),
            Value::Dict(_) => "a dictionary".to_owned(),
            Value::Class(name) => format!("the class or function {name}"),
            Value::Persistent(_) => "a storage".to_owned(),
            Value::Object(object) => match self.class(object.class) {
                Some("_codecs.encode") => "bytes".to_owned(),
                Some("collections.OrderedDict" | "collections.defaultdict") => {
                    "a dictionary".to_owned()
                }
                Some("numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar") => {
                    "a NumPy scalar".to_owned()
                }
                Some(class) => format!("an object of {class}"),
                None => "an object".to_owned(),
            },
            Value::Unknown => "an unknown value".to_owned(),
        }
    }
}

/// What reading a part of a file gives.
pub type Read<T> = std::result::Result<T, Error>;
