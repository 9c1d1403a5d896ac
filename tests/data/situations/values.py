"""What stands among tensors in a state dict and is none."""

import argparse
import datetime
import decimal
import enum
import fractions
import pathlib
import random
import uuid

import numpy as np
import torch
from __main__ import Holder, activate

from .tools import check, counted, layer, legacy, momenta, protocol, situation, state, taken


@situation("plain_values.pth")
def plain_values():
    values = {"epoch": 3, "lr": 0.1, "name": "net", "scheduler": None, "amp": True, "phase": 1j, "raw": b"x",
              "many": 2**80, "negative": -5, "text": "ä" * 300}
    passed_over = dict.fromkeys(values, "") | {"epoch": "integer"}
    return {**state(), **values}, check(taken(state(), passed_over=passed_over))


@situation("plain_values_protocol_4.pth", protocol(4))
def plain_values_protocol_4():
    values = {"labels": {"cat", "dog"}, "frozen": frozenset([1]), "array": bytearray(b"xy"), "shape": (1, 2)}
    return {**state(), **values}, check(taken(state(), passed_over=list(values)))


def objects():
    return {
        "args": argparse.Namespace(lr=0.1, milestones=[30, 60]),
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "layout": torch.strided,
        "function": activate,
        "built_in": len,
        "torch_function": torch.nn.functional.relu,
        "class": Holder,
        "holder": Holder(lr=0.1, history=[1, 2]),
    }


@situation("objects.pth")
def among_objects():
    return {**state(), **objects()}, check(taken(state(), passed_over=list(objects())))


@situation("objects_legacy.pth", legacy)
def among_objects_legacy():
    return {**state(), **objects()}, check(taken(state(), passed_over=list(objects())))


class Phase(enum.Enum):
    TRAINING = 1


@situation("objects_of_the_library.pth")
def objects_of_the_library():
    values = {"date": datetime.datetime(2020, 1, 2, 3), "path": pathlib.PurePosixPath("runs/1"),
              "price": decimal.Decimal("1.5"), "third": fractions.Fraction(1, 3), "range": range(3),
              "slice": slice(1, 2), "phase": Phase.TRAINING, "id": uuid.UUID(int=5),
              "numpy_dtype": np.dtype("f4"), "numpy_scalar": np.float32(0.5), "wait": datetime.timedelta(1)}
    return {**state(), **values}, check(taken(state(), passed_over=list(values)))


@situation("object_with_tensors.pth")
def object_with_tensors():
    """An object of unknown class holds tensors of which nobody knows what they are."""
    return {**state(), "cache": Holder(W=counted(2), step=3)}, check(taken(state(), passed_over=["cache"]))


@situation("optimizer_among_tensors.pth")
def optimizer_among_tensors():
    content = {**state(), "optimizer": momenta(), "epoch": 3}
    return content, check(taken(state(), passed_over={"optimizer": "optimizer", "epoch": "integer"}))


@situation("random_states.pth")
def random_states():
    generator = random.Random(0).getstate()
    states = {"rng_state": torch.arange(16, dtype=torch.uint8), "cuda_rng_state": [torch.arange(8, dtype=torch.uint8)],
              "numpy_rng": ("MT19937", np.arange(8, dtype=np.uint32), 5, 0, 0.0),
              "python_rng": (generator[0], generator[1][:8], generator[2])}
    return {"model": state(), **states, "epoch": 1}, check(taken(state(), key="model",
                                                                 passed_over=[*states, "epoch"]))


@situation("whole_optimizer.pth")
def whole_optimizer():
    """An optimizer and a scheduler pickled whole."""
    weight = torch.nn.Parameter(layer()["W"])
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    scheduler = Holder(optimizer=optimizer, last_epoch=3)
    content = {"model": state(), "optimizer": optimizer, "scheduler": scheduler}
    return content, check(taken(state(), key="model", passed_over={"optimizer": "optimizer", "scheduler": ""}))
