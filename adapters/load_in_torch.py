"""Loads what either adapter's example `nets` saved into `torch.nn` modules, and classifies the test images.

    pip install torch safetensors
    python adapters/load_in_torch.py runs/fashion/net.safetensors --net resnet --data path/to/fashion-mnist
"""

import argparse
import gzip
import pathlib

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


class Unit(nn.Module):
    """A convolution and its batch norm."""

    def __init__(self, inputs, outputs, kernel, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(self.conv(x))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = Unit(inputs, outputs, 3, stride)
        self.second = Unit(outputs, outputs, 3)
        self.shortcut = nn.Module()
        self.shortcut.projection = None
        if stride > 1 or inputs != outputs:
            self.shortcut.projection = Unit(inputs, outputs, 1, stride)

    def forward(self, x):
        projection = self.shortcut.projection
        return F.relu(self.second(F.relu(self.first(x))) + (projection(x) if projection else x))


class Separable(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = Unit(inputs, inputs, 3, stride, groups=inputs)
        self.second = Unit(inputs, outputs, 1)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))))


class Net(nn.Module):
    def __init__(self, block, *shapes):
        super().__init__()
        self.stem = Unit(1, shapes[0][0], 3)
        self.blocks = nn.ModuleList(block(*shape) for shape in shapes)
        self.head = nn.Linear(shapes[-1][1], 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


NETS = {
    "resnet": lambda: Net(Residual, (16, 16, 1), (16, 32, 2), (32, 64, 2)),
    "mobilenet": lambda: Net(Separable, (16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2)),
}


def read(folder, name, header):
    """The bytes of an IDX file after its header."""
    path = folder / name
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(name + ".gz").read_bytes())
    return torch.frombuffer(bytearray(data[header:]), dtype=torch.uint8)


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--net", choices=NETS, default="resnet")
    parser.add_argument("--data", type=pathlib.Path, default=here / "../examples/mnist/data")
    arguments = parser.parse_args()

    net = NETS[arguments.net]().eval()
    missing, unexpected = net.load_state_dict(load_file(arguments.file), strict=False)
    # Counters of batches aren't needed.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise SystemExit(f"{arguments.file}: missing {missing}, unexpected {unexpected}")
    images = read(arguments.data, "t10k-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28) / 255
    labels = read(arguments.data, "t10k-labels-idx1-ubyte", 8)
    with torch.no_grad():
        right = (torch.cat([net(batch) for batch in images.split(250)]).argmax(1) == labels).float().mean()
    print(f"{100 * right:.2f} % of the test images")


if __name__ == "__main__":
    main()
