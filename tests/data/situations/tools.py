"""What situations are made of: small states, ways to save, and what must come of a file.

A situation is a function that gives what is saved and then the checks, of which `taken` and `refused` make
the outcomes.
"""

import functools
import math
import pickle

import numpy as np
import torch
from safetensors.torch import save_file

SITUATIONS = {}

DTYPES = {
    "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64", "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "bool": "BOOL",
    "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
}


# Ways to save: of what, and where to.

def saved(content, path, **options):
    """By torch.save. An archive repeats its name at each entry, so it gets a short one."""
    short = path.with_name("m.pt")
    torch.save(content, short, **options)
    short.rename(path)


legacy = functools.partial(saved, _use_new_zipfile_serialization=False)


def protocol(number, save=saved):
    return functools.partial(save, pickle_protocol=number)


def dumped(number):
    """As pickle alone saves it."""
    return lambda content, path: path.write_bytes(pickle.dumps(content, protocol=number))


def archive(content, path):
    np.savez(path, **content)


def tensors_alone(content, path):
    """As a safetensors file; `content` is the tensors, or those and the metadata."""
    tensors, metadata = content if isinstance(content, tuple) else (content, {"format": "pt"})
    save_file(tensors, path, metadata)


def written(content, path):
    """Bytes or text as they are."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def situation(file, save=saved):
    """Registers a function that gives what is saved in the file, and the checks of it."""

    def register(function):
        def make(path):
            content, *checks = function()
            save(content, path)
            return checks

        assert file not in SITUATIONS, file
        SITUATIONS[file] = make
        return function

    return register


# Small states.


def counted(*shape, start=0, dtype=torch.float32):
    """Multiples of 1/8 from -4 to 4, exact in every floating-point type of a layer."""
    numbers = (start + 5 * torch.arange(math.prod(shape))) % 64 - 32
    return (numbers.double() / 8).to(dtype).reshape(shape)


def layer(start=0, dtype=torch.float32):
    """W, D and the identity of a layer of one input and two output channels, with 2x2 kernels."""
    return {
        "W": counted(2, 1, 4, start=start, dtype=dtype),
        "D": counted(1, 4, 4, start=start + 7, dtype=dtype),
        "d_diag": torch.eye(4, dtype=dtype).reshape(1, 4, 4),
    }


def state(*names, start=0, dtype=torch.float32, parts=("W", "D")):
    """A state dict of layers, by default of one that is named a; other starts give other numbers."""
    return {f"{name}.{part}": layer(start + 11 * index, dtype)[part]
            for index, name in enumerate(names or ["a"]) for part in parts}


def net_state(start=0, dtype=torch.float32):
    """The state dict of a Net, which has the identity too."""
    return state(start=start, dtype=dtype, parts=("W", "D", "d_diag"))


def momenta(start=40):
    """The state dict of an optimizer that has run, with tensors of the weights' shapes."""
    groups = [{"lr": 0.1, "momentum": 0.9, "weight_decay": 0, "nesterov": False, "params": [0, 1]}]
    moved = {0: {"momentum_buffer": counted(2, 1, 4, start=start)}, 1: {"momentum_buffer": None}}
    return {"state": moved, "param_groups": groups}


def joined(**parts):
    """The names and tensors of dictionaries in a dictionary."""
    return {f"{key}.{name}": tensor for key, part in parts.items() for name, tensor in part.items()}


# What must come of a file.


def check(*outcomes, **options):
    """Opened with those options, one of the outcomes."""
    return without_empty({"options": options, "outcomes": list(outcomes)})


def taken(tensors, key=None, prefix="", passed_over=(), layers=None, kernels=None, refused_fold=None):
    """Exactly these tensors, from under `key`, without `prefix`; `passed_over` are names, or with words that
    are said of each. Layers and their kernels are those that the names tell, unless they are given."""
    if layers is None:
        layers = sorted(name.removesuffix(".W") for name in tensors if name.endswith(".W"))
    if kernels is None and not refused_fold:
        kernels = {name: kernel(tensors, name) for name in layers}
    passed_over = passed_over if isinstance(passed_over, dict) else dict.fromkeys(passed_over, "")
    outcome = {
        "tensors": {name: stored(tensor) for name, tensor in tensors.items()},
        "key": key,
        "prefix": prefix,
        "passed_over": passed_over,
        "layers": layers,
        "kernels": {} if refused_fold else {name: shaped(array) for name, array in kernels.items()},
    }
    return {"taken": without_empty(outcome | {"refused_fold": refused_fold})}


def error(kind, *words):
    """An error of that kind, whose text has the words."""
    return {"kind": kind, "words": list(words)}


def refused(kind, *words):
    """The file isn't opened."""
    return {"refused": error(kind, *words)}


def without_empty(fields):
    return {name: value for name, value in fields.items() if value}


def stored(tensor):
    """Element type, shape and numbers: of complex ones both parts, of one-byte floats the byte."""
    tensor = torch.as_tensor(np.ascontiguousarray(tensor)) if isinstance(tensor, np.ndarray) else tensor.detach()
    dtype, shape = DTYPES[str(tensor.dtype).removeprefix("torch.")], list(tensor.shape)
    numbers = tensor.resolve_conj().resolve_neg().contiguous()
    if dtype == "C64":
        numbers = torch.view_as_real(numbers)
    if dtype.startswith("F8"):
        numbers = numbers.view(torch.uint8)
    return [dtype, shape, [number(value) for value in numbers.flatten().tolist()]]


def number(value):
    """A number as JSON can have it."""
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value + 0


def kernel(tensors, name):
    """(D + d_diag) times W in float64, [O, n, M, N] of a square kernel, with D paired as in the published
    code."""
    prefix = f"{name}." if name else ""
    w, d = (torch.as_tensor(tensors[f"{prefix}{part}"]).detach().double().numpy() for part in ("W", "D"))
    inputs, taps, d_mul = d.shape
    outputs, n, _ = w.shape
    identity = tensors.get(f"{prefix}d_diag", tensors.get(f"{prefix}D_diag"))
    whole = d + (np.eye(taps, d_mul) if identity is None else torch.as_tensor(identity).detach().double().numpy())
    side = math.isqrt(taps)
    composed = np.empty((outputs, n, side, side))
    for o in range(outputs):
        for i in range(n):
            channel = o % (inputs // n) * n + i
            composed[o, i] = (whole[channel] @ w[o, i]).reshape(side, side)
    return composed


def shaped(array):
    return [list(array.shape), array.flatten().tolist()]
