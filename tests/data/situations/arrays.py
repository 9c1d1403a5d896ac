"""NumPy's arrays: in pickles, in torch.save, in .npz."""

import datetime

import numpy as np
import torch

from .tools import archive, check, counted, dumped, legacy, refused, situation, state, taken


def as_arrays(tensors):
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@situation("arrays_protocol_2.pkl", dumped(2))
def arrays_protocol_2():
    """Bytes as text, by _codecs.encode."""
    return as_arrays(state()), check(taken(state()))


@situation("arrays_protocol_4.pkl", dumped(4))
def arrays_protocol_4():
    return as_arrays(state()), check(taken(state()))


@situation("arrays_protocol_5.pkl", dumped(5))
def arrays_protocol_5():
    """By _frombuffer, which the protocols before haven't."""
    return as_arrays(state()), check(taken(state()))


@situation("arrays_of_other_orders.pkl", dumped(4))
def arrays_of_other_orders():
    numbers = counted(2, 3).numpy()
    arrays = {"fortran": np.asfortranarray(numbers), "big": numbers.astype(">f4"), "part": numbers[:, 1:],
              "fortran_big": np.asfortranarray(numbers.astype(">f8"))}
    expected = {name: torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
                for name, array in arrays.items()}
    return arrays, check(taken(expected))


@situation("detectron2_zoo.pkl", dumped(4))
def detectron2_zoo():
    content = {"model": as_arrays(state("backbone.res2.0")), "__author__": "someone", "matching_heuristics": True}
    passed_over = ["__author__", "matching_heuristics"]
    return content, check(taken(state("backbone.res2.0"), key="model", passed_over=passed_over))


def mixed():
    return {**as_arrays(state()), "best": np.float64(0.5), "count": np.int64(3)}


@situation("arrays.pth")
def arrays_in_torch_save():
    return mixed(), check(taken(state(), passed_over=["best", "count"]))


@situation("arrays_legacy.pth", legacy)
def arrays_in_legacy_torch_save():
    return mixed(), check(taken(state(), passed_over=["best", "count"]))


@situation("beside_objects.npz", archive)
def beside_objects():
    others = {
        "names": np.array(["cat", "dog"]),
        "bytes": np.array([b"cat"]),
        "date": np.array([datetime.date(2020, 1, 2)], dtype="datetime64[D]"),
        "objects": np.array([{"lr": 0.1}, None], dtype=object),
        "records": np.array([(1, 2.0)], dtype=[("index", "i4"), ("value", "f4")]),
    }
    return as_arrays(state()) | others, check(taken(state(), passed_over=list(others)))


@situation("of_data_parallel.npz", archive)
def npz_of_data_parallel():
    return (as_arrays(state("module.a")), check(taken(state(), prefix="module.")),
            check(taken(state("module.a")), strip_prefix=""))


@situation("model_key.npz", archive)
def npz_has_no_keys():
    return as_arrays(state("model.a")), check(taken(state("model.a"))), check(refused("Config", "key"), key="model")


@situation("numbers_of_every_type.npz", archive)
def numbers_of_every_type():
    types = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "?", "c8"]
    arrays = {name.replace("?", "bool"): np.arange(3).astype(name) for name in types}
    return arrays, check(taken({name: torch.from_numpy(array) for name, array in arrays.items()}))
