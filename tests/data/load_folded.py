"""Load a folded checkpoint, strictly, into a net of torch.nn.Conv2d; print the logits as JSON.

    python load_folded.py NAME FOLDED

NAME is that of a checkpoint in reference_checkpoints/; FOLDED is a safetensors file, or a .pth of PyTorch's. Needs torch alone.
"""

import json
import pathlib
import sys

import torch
from torch import nn

HERE = pathlib.Path(__file__).parent / "reference_checkpoints"


def tensors(path):
    """A safetensors file of f32 and i64."""
    data = pathlib.Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    types = {"F32": torch.float32, "I64": torch.int64}
    return {
        name: torch.frombuffer(bytearray(data[start + info["data_offsets"][0]: start + info["data_offsets"][1]]),
                               dtype=types[info["dtype"]]).reshape(info["shape"])
        for name, info in header.items()
    }


def main(name, folded):
    layers = json.loads((HERE / f"{name}.json").read_text())
    keys = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"]
    conv = lambda layer: nn.Conv2d(**{key: layers[layer][key] for key in keys})
    if name == "mixed":
        net, order = nn.Module(), ["stem", "bn1", "dw", "pw", "group", "bn2", "over", "mult"]
        for part in order:
            net.add_module(part, nn.BatchNorm2d({"bn1": 16, "bn2": 32}[part]) if part[:2] == "bn" else conv(part))
        net.add_module("head", nn.Linear(40, 10))
        steps = [(net.get_submodule(part), part not in ("stem", "group")) for part in order]
    else:
        net = nn.Sequential(conv("0"), nn.ReLU(), conv("2"), nn.ReLU(), conv("4"), nn.ReLU())
        steps = [(net[index], True) for index in (0, 2, 4)]
    is_torch = folded.endswith(".pth")
    net.load_state_dict(torch.load(folded, weights_only=True) if is_torch else tensors(folded), strict=True)
    net.eval()
    with torch.no_grad():
        x = tensors(HERE / f"{name}.io.safetensors")["x"]
        for step, relu in steps:
            x = step(x)
            x = x.relu() if relu else x
        x = x.mean((2, 3))
        print(json.dumps((net.head(x) if name == "mixed" else x).tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
