//! Tensors in a graph of values: what PyTorch and NumPy would rebuild, out of which storage.

use std::collections::HashMap;
use std::sync::Arc;

use safetensors::Dtype;

use super::dtype;
use super::legacy;
use super::pickle::broken;
use super::storage::{Place, Storage, Storages, Strided};
use super::value::{Graph, Id, Read, Value};
use crate::checkpoint::axes::permuted_bytes;
use crate::checkpoint::format::npy::element_type;
use crate::checkpoint::tensor::{Bytes, Tensor};
use crate::checkpoint::text::{OPEN, shown};
use crate::error::ErrorKind;

/// A value, as far as it is a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One that a checkpoint can have: PyTorch's, of this storage, offset, size, stride and element type
    /// if that isn't the storage's.
    Torch { storage: Id, offset: Id, size: Id, stride: Id, dtype: Option<Id> },
    /// An array of NumPy's with its element type, shape, order and bytes.
    NumPy { dtype: Id, shape: Id, fortran_order: bool, bytes: Id },
    /// A tensor of a kind that none here is.
    Other(&'static str),
    /// No tensor.
    None,
}

/// What kind of tensor a value is, if it is one.
pub fn kind(graph: &Graph, id: Id) -> Kind {
    // A parameter of a parameter, and so on, may be made to never end.
    let mut id = id;
    for _ in 0..8 {
        match step(graph, id) {
            Ok(inner) => id = inner,
            Err(kind) => return kind,
        }
    }
    Kind::None
}

/// The kind of a value, or the value that it wraps.
fn step(graph: &Graph, id: Id) -> Result<Id, Kind> {
    let Some((class, object)) = graph.object(id) else { return Err(Kind::None) };
    let arguments = graph.tuple(object.arguments).unwrap_or_default();
    let (class, arguments) = match (class, arguments) {
        // A subclass: the function, the class, the function's arguments, attributes.
        (
            "torch._tensor._rebuild_from_type_v2"
            | "torch._tensor._rebuild_from_type"
            | "torch.tensor._rebuild_from_type",
            [function, _, arguments, ..],
        ) => (graph.class(*function).unwrap_or(""), graph.tuple(*arguments).unwrap_or_default()),
        pair => pair,
    };
    let Some(name) = class.strip_prefix("torch._utils.") else {
        return match (class, arguments) {
            ("torch.nn.parameter.Parameter" | "torch.autograd.variable.Variable", [data, ..]) => {
                Ok(*data)
            }
            _ => Err(numpy(graph, id, class, arguments)),
        };
    };
    Err(match (name, arguments) {
        ("_rebuild_parameter" | "_rebuild_parameter_with_state", [data, ..]) => return Ok(*data),
        (
            "_rebuild_tensor" | "_rebuild_tensor_v2",
            &[storage, offset, size, stride, ref more @ ..],
        ) => strided(graph, [storage, offset, size, stride], None, more.get(2)),
        ("_rebuild_tensor_v3", &[storage, offset, size, stride, _, _, dtype, ref more @ ..]) => {
            strided(graph, [storage, offset, size, stride], Some(dtype), more.first())
        }
        ("_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor", _) => {
            Kind::Other("a sparse tensor")
        }
        ("_rebuild_qtensor", _) => Kind::Other("a quantized tensor"),
        ("_rebuild_meta_tensor_no_storage", _) => Kind::Other("a meta tensor, without elements"),
        ("_rebuild_nested_tensor", _) => Kind::Other("a nested tensor"),
        _ if name.starts_with("_rebuild_") => Kind::Other("a tensor of an unknown kind"),
        _ => Kind::None,
    })
}

fn strided(
    graph: &Graph,
    [storage, offset, size, stride]: [Id; 4],
    dtype: Option<Id>,
    metadata: Option<&Id>,
) -> Kind {
    let is_set = |name| {
        let value = metadata.and_then(|&metadata| graph.entry(metadata, name));
        value.is_some_and(|value| !matches!(graph.get(value), Value::Bool(false)))
    };
    match () {
        () if is_set("conj") => Kind::Other("a conjugate view"),
        () if is_set("neg") => Kind::Other("a negated view"),
        () => match element_name(graph, storage, dtype)
            .filter(|name| dtype::of_name(name).is_none())
        {
            Some("complex128") => Kind::Other("a tensor of complex128"),
            Some(name) if name.starts_with('q') => Kind::Other("a quantized tensor"),
            Some(_) => Kind::Other("a tensor of an element type that none here has"),
            None => Kind::Torch { storage, offset, size, stride, dtype },
        },
    }
}

/// The name of a tensor's element type.
fn element_name(graph: &Graph, storage: Id, dtype: Option<Id>) -> Option<&str> {
    if let Some(dtype) = dtype {
        return graph.class(dtype)?.strip_prefix("torch.");
    }
    match graph.get(storage) {
        Value::Persistent(told) => dtype::of_storage(graph.class(*graph.tuple(*told)?.get(1)?)?),
        _ => None,
    }
}

fn numpy(graph: &Graph, id: Id, class: &str, arguments: &[Id]) -> Kind {
    let name = ["numpy.core.", "numpy._core."].iter().find_map(|module| class.strip_prefix(module));
    match (name, arguments) {
        (Some("multiarray._reconstruct"), _) => {
            let state = graph.object(id).and_then(|(_, object)| object.state);
            match state.and_then(|state| graph.tuple(state)) {
                Some(&[_, shape, dtype, order, bytes]) => Kind::NumPy {
                    dtype,
                    shape,
                    fortran_order: matches!(graph.get(order), Value::Bool(true)),
                    bytes,
                },
                _ => Kind::Other("an array without elements"),
            }
        }
        (Some("numeric._frombuffer"), &[bytes, dtype, shape, order]) => {
            Kind::NumPy { dtype, shape, fortran_order: graph.text(order) == Some("F"), bytes }
        }
        _ => Kind::None,
    }
}

/// Element type and order of bytes of an array of NumPy's; none for objects, texts, dates and records.
fn numpy_dtype(graph: &Graph, id: Id) -> Option<(Dtype, bool)> {
    let ("numpy.dtype", object) = graph.object(id)? else { return None };
    let name = graph.text(*graph.tuple(object.arguments)?.first()?)?;
    let order = object.state.and_then(|state| graph.text(*graph.tuple(state)?.get(1)?));
    element_type(&format!("{}{name}", order.unwrap_or("|"))).ok()
}

/// Makes the tensors of a graph.
pub struct Tensors<'g, S> {
    pub graph: &'g Graph,
    pub storages: S,
    /// Those that are pickled in the graph itself.
    pub within: HashMap<Id, (Storage, &'static str)>,
}

impl<S: Storages> Tensors<'_, S> {
    /// The tensor of that kind; `None` with what it is, if that is none that a checkpoint has.
    pub fn make(&mut self, name: &str, kind: Kind) -> Read<Result<Tensor, String>> {
        match kind {
            Kind::Torch { storage, offset, size, stride, dtype } => {
                self.torch(name, storage, [offset, size, stride], dtype).map(Ok)
            }
            Kind::NumPy { dtype, shape, fortran_order, bytes } => {
                let Some((dtype, big_endian)) = numpy_dtype(self.graph, dtype) else {
                    return Ok(Err("a NumPy array of elements that no tensor has".to_owned()));
                };
                self.numpy(name, (dtype, big_endian), shape, fortran_order, bytes).map(Ok)
            }
            Kind::Other(what) => Ok(Err(what.to_owned())),
            Kind::None => Ok(Err("no tensor".to_owned())),
        }
    }

    fn torch(
        &mut self,
        name: &str,
        storage_id: Id,
        [offset, size, stride]: [Id; 3],
        dtype: Option<Id>,
    ) -> Read<Tensor> {
        let graph = self.graph;
        let wrong = |got: &str| {
            let expected = "a storage, an offset, extents and strides of a tensor";
            OPEN.error(ErrorKind::Format, shown(name), expected, got)
        };
        let (storage, own) = self.storage(name, storage_id)?;
        let element = match dtype {
            Some(_) => element_name(graph, storage_id, dtype),
            None => Some(own),
        };
        let dtype =
            element.and_then(dtype::of_name).ok_or_else(|| wrong("another element type"))?;
        let offset = graph.integer(offset).ok_or_else(|| wrong("another offset"))?;
        let shape = graph.integers(size).ok_or_else(|| wrong("other extents"))?;
        let strides = graph.integers(stride).ok_or_else(|| wrong("other strides"))?;
        if strides.len() != shape.len() {
            return Err(wrong("extents and strides of different numbers"));
        }
        let size = dtype.bitsize() / 8;
        let number = if dtype == Dtype::C64 { size / 2 } else { size };
        let axes = shape.iter().zip(strides).map(|(&extent, stride)| [extent, stride]).collect();
        let len = storage.len;
        let strided = Strided { storage, sizes: [size, number], offset, axes };
        let span = strided.span().and_then(|span| match span {
            0 => Some(0),
            _ => span.checked_add(offset)?.checked_mul(size),
        });
        if span.is_none_or(|span| span as u64 > len) {
            let expected = format!("elements within its storage of {len} bytes");
            let got = format!("{dtype} {shape:?} from element {offset} on");
            return Err(OPEN.error(ErrorKind::Format, shown(name), expected, got));
        }
        // A tensor without elements needs no place in its storage.
        let offset = if span == Some(0) { 0 } else { offset };
        let bytes = Bytes::Lazy(Arc::new(Strided { offset, ..strided }));
        Tensor::at(OPEN, name, dtype, shape, bytes)
    }

    /// A storage and the name of its elements' type.
    fn storage(&mut self, name: &str, id: Id) -> Read<(Storage, &'static str)> {
        let graph = self.graph;
        let wrong = || {
            let expected = "a storage with its type, key and size";
            OPEN.error(ErrorKind::Format, shown(name), expected, graph.what(id))
        };
        if let Value::Persistent(told) = graph.get(id) {
            let (key, element, view) = legacy::told(graph, *told).ok_or_else(wrong)?;
            let size = dtype::size(element) as u64;
            let mut storage = self.storages.get(key)?;
            if let Some((offset, numbers)) = view {
                storage = part(storage, offset.saturating_mul(size), numbers.saturating_mul(size))
                    .ok_or_else(wrong)?;
            }
            return Ok((storage, element));
        }
        if let Some(storage) = self.within.get(&id) {
            return Ok(storage.clone());
        }
        // A storage that was pickled without PyTorch's own way to save.
        let Some(("torch.storage._load_from_bytes", object)) = graph.object(id) else {
            return Err(wrong());
        };
        let bytes = graph.tuple(object.arguments).and_then(|arguments| arguments.first());
        let bytes = bytes.and_then(|&bytes| graph.bytes(bytes)).ok_or_else(wrong)?;
        let storage = legacy::storage_of(&bytes)?;
        Ok(self.within.entry(id).or_insert(storage).clone())
    }

    fn numpy(
        &self,
        name: &str,
        (dtype, big_endian): (Dtype, bool),
        shape: Id,
        fortran_order: bool,
        bytes: Id,
    ) -> Read<Tensor> {
        let shape = self.graph.integers(shape);
        let shape = shape.ok_or_else(|| broken("the shape of an array", shown(name)))?;
        let bytes = self.graph.bytes(bytes);
        let mut bytes = bytes.ok_or_else(|| broken("the bytes of an array", shown(name)))?;
        let size = dtype.bitsize() / 8;
        let elements = shape.iter().try_fold(size, |product, &extent| product.checked_mul(extent));
        if elements != Some(bytes.len()) {
            let expected = format!("the bytes of {dtype} {shape:?}");
            return Err(OPEN.error(ErrorKind::Format, shown(name), expected, bytes.len()));
        }
        if big_endian {
            let number = if dtype == Dtype::C64 { size / 2 } else { size };
            bytes.chunks_exact_mut(number).for_each(<[u8]>::reverse);
        }
        if fortran_order {
            let reversed: Vec<usize> = shape.iter().rev().copied().collect();
            let axes: Vec<usize> = (0..shape.len()).rev().collect();
            bytes = permuted_bytes(&bytes, &reversed, &axes, size);
        }
        Tensor::at(OPEN, name, dtype, shape, Bytes::Memory(bytes.into()))
    }
}

/// A part of a storage.
fn part(storage: Storage, offset: u64, len: u64) -> Option<Storage> {
    if offset.checked_add(len)? > storage.len {
        return None;
    }
    let place = match storage.place {
        Place::File(file, start, _) => Place::File(file, start + offset, None),
        Place::Memory(bytes) => {
            Place::Memory(bytes.get(offset as usize..(offset + len) as usize)?.into())
        }
        Place::Packed(..) => return None,
    };
    Some(Storage { place, len, ..storage })
}
