"""Write checkpoints as training scripts really save them, and what must come of each.

    python make_checkpoints.py [FOLDER]

Needs torch, numpy and safetensors. The files and manifest.json go to FOLDER, by default as_saved/; README.md
describes them. The situations are in situations/, a module for each topic.
"""

import collections
import json
import pathlib
import sys
import warnings

import torch
import torch.serialization
from torch import nn

# Files before the archives tell the source of modules' classes, and where it was.
get_source = torch.serialization.get_source_lines_and_file
torch.serialization.get_source_lines_and_file = lambda *args, **more: (*get_source(*args, **more)[:2], "train.py")

# What is pickled whole. A pickle names a class by its module, which for a script's own classes is __main__,
# so these stand here and the situations import them from there.


class DOConv2d(nn.Module):
    """A DO-Conv layer with the names of the published code; 2x2 kernels."""

    def __init__(self, tensors, persistent=True):
        super().__init__()
        self.kernel_size, self.padding_mode = (2, 2), "zeros"
        self.W = nn.Parameter(tensors["W"])
        self.D = nn.Parameter(tensors["D"])
        self.register_buffer("d_diag", tensors["d_diag"], persistent=persistent)
        self.register_parameter("bias", None)


class Net(nn.Module):
    """A layer `a`, and things that a state dict doesn't have."""

    def __init__(self, tensors, persistent=True):
        super().__init__()
        self.a = DOConv2d(tensors, persistent)
        self.activation = nn.ReLU()
        self.history = [0.5, 0.25]
        self.last_output = torch.ones(3)


class Holder:
    """An object of a class that nobody else knows."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Dictionary(dict):
    """A dictionary as configuration libraries have them."""


class TensorList(list):
    """A list of another class."""


class SpecialTensor(torch.Tensor):
    """A tensor of another class."""


Pair = collections.namedtuple("Pair", ["first", "second"])


def activate(x):
    """A function, pickled by its name."""
    return x


def main(folder=pathlib.Path(__file__).parent / "as_saved"):
    from situations import SITUATIONS

    warnings.simplefilter("ignore")
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    manifest = {file: make(folder / file) for file, make in sorted(SITUATIONS.items())}
    (folder / "manifest.json").write_text(a_line_each(numbered(manifest)))
    print(len(manifest), "situations")


def numbered(manifest):
    """The manifest with every array written once; what is of the same numbers has the same place."""
    arrays = []

    def place(array):
        if array not in arrays:
            arrays.append(array)
        return arrays.index(array)

    taken = [outcome["taken"] for checks in manifest.values() for check in checks
             for outcome in check["outcomes"] if "taken" in outcome]
    for outcome in taken:
        for part in ("tensors", "kernels"):
            outcome[part] = {name: place(array) for name, array in outcome.get(part, {}).items()}
    return {"arrays": dict(enumerate(arrays)), "files": manifest}


def a_line_each(manifest):
    """JSON of two dictionaries, each value on a line of its own."""
    compact = lambda value: json.dumps(value, separators=(",", ":"))
    parts = [f'"{part}": {{\n' + ",\n".join(f'"{key}": {compact(value)}' for key, value in values.items()) + "\n}"
             for part, values in manifest.items()]
    return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
