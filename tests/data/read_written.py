"""Print what a .pth or .npz file has as JSON: [element type, shape, bytes in hexadecimal] by name.

    python read_written.py torch|numpy|plain FILE

`plain` needs nothing but Python: it reads the archive with zipfile, and a pickle with pickle itself, in which it
finds the few things that a state dict asks for and no other.
"""

import ast
import collections
import io
import json
import math
import pickle
import pickletools
import sys
import zipfile

#: By their names in safetensors: PyTorch's storage class or type, and NumPy's type.
TYPES = {
    "BOOL": ("BoolStorage", "|b1"), "I8": ("CharStorage", "|i1"), "U8": ("ByteStorage", "|u1"),
    "I16": ("ShortStorage", "<i2"), "I32": ("IntStorage", "<i4"), "I64": ("LongStorage", "<i8"),
    "U16": ("uint16", "<u2"), "U32": ("uint32", "<u4"), "U64": ("uint64", "<u8"),
    "F16": ("HalfStorage", "<f2"), "F32": ("FloatStorage", "<f4"), "F64": ("DoubleStorage", "<f8"),
    "C64": ("ComplexFloatStorage", "<c8"), "BF16": ("BFloat16Storage", None),
    "F8_E4M3": ("float8_e4m3fn", None), "F8_E5M2": ("float8_e5m2", None), "F8_E8M0": ("float8_e8m0fnu", None),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", None), "F8_E5M2FNUZ": ("float8_e5m2fnuz", None),
}
OF_TORCH = {torch: name for name, (torch, _) in TYPES.items()}
OF_NUMPY = {numpy: name for name, (_, numpy) in TYPES.items()}
SIZES = {"BOOL": 1, "BF16": 2, "C64": 8}


def size(name):
    return SIZES.get(name) or int(name.split("_")[0][1:]) // 8


def contiguous(shape):
    return tuple(math.prod(max(extent, 1) for extent in shape[axis + 1:]) for axis in range(len(shape)))


def torch_of(path):
    import torch

    names = {getattr(torch, name): dtype for name, dtype in OF_TORCH.items() if not name.endswith("Storage")}
    names |= {getattr(torch, name).dtype: dtype for name, dtype in OF_TORCH.items() if name.endswith("Storage")}
    for mmap in [True, False]:
        state = torch.load(path, weights_only=True, mmap=mmap)
        assert type(state) is collections.OrderedDict
        assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in state.values())
    for name, tensor in state.items():
        data = tensor.flatten().view(torch.uint8) if tensor.numel() else torch.zeros(0, dtype=torch.uint8)
        yield name, names[tensor.dtype], tensor.shape, bytes(data.tolist())


def numpy_of(path):
    import numpy

    with numpy.load(path) as arrays:
        assert len(arrays) == len(arrays.files)
        for name, array in arrays.items():
            yield name, OF_NUMPY[array.dtype.str], array.shape, array.tobytes()


class StateDict(pickle.Unpickler):
    """Tensors as tuples."""

    def find_class(self, module, name):
        rebuild = lambda storage, offset, shape, stride, gradient, hooks, dtype=None: (
            storage, offset, shape, stride, gradient, len(hooks), dtype)
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild,
            ("torch._utils", "_rebuild_tensor_v3"): rebuild,
            ("torch.storage", "UntypedStorage"): "UntypedStorage",
        }
        return known.get((module, name)) or (OF_TORCH[name] and module == "torch" and name)

    def persistent_load(self, key):
        return key


def plain_of(path):
    archive = zipfile.ZipFile(path)
    assert archive.testzip() is None
    entries = archive.infolist()
    assert all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if any(entry.filename.endswith(".npy") for entry in entries):
        for entry in entries:
            data = archive.read(entry)
            assert data[:8] == b"\x93NUMPY\x01\0"
            start = 10 + int.from_bytes(data[8:10], "little")
            assert start % 64 == 0 and data[start - 1:start] == b"\n"
            header = ast.literal_eval(data[10:start].decode("latin1"))
            assert set(header) == {"descr", "fortran_order", "shape"} and header["fortran_order"] is False
            yield entry.filename.removesuffix(".npy"), OF_NUMPY[header["descr"]], header["shape"], data[start:]
        return
    assert entries[0].filename == "archive/data.pkl" and archive.read("archive/version") == b"3\n"
    assert archive.read("archive/byteorder") == b"little"
    assert archive.read(entries[0])[:2] == b"\x80\x02"
    with archive.open(entries[0]) as file:
        pickletools.dis(file, out=io.StringIO())
    with archive.open(entries[0]) as file:
        state = StateDict(file).load()
    assert len(entries) == len(state) + 3 and type(state) is collections.OrderedDict
    for name, ((kind, storage, key, place, count), offset, shape, stride, gradient, hooks, dtype) in state.items():
        data = archive.read(f"archive/data/{key}")
        assert (kind, place, offset, gradient, hooks) == ("storage", "cpu", 0, False, 0)
        assert (storage == "UntypedStorage") == (dtype is not None) and stride == contiguous(shape)
        dtype = OF_TORCH[dtype or storage]
        assert count == (len(data) if storage == "UntypedStorage" else math.prod(shape))
        assert len(data) == math.prod(shape) * size(dtype)
        yield name, dtype, shape, data


if __name__ == "__main__":
    tensors = {"torch": torch_of, "numpy": numpy_of, "plain": plain_of}[sys.argv[1]](sys.argv[2])
    print(json.dumps({name: [dtype, list(shape), data.hex()] for name, dtype, shape, data in tensors}))
