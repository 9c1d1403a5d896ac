"""PyTorch's side of the peer table: torch_peer.py THREADS DTYPE

Says its version in a line, then answers each line of its input by one line:

    TASK CALLS BATCH INPUTS OUTPUTS IMAGE KERNEL STRIDE PADDING DILATION GROUPS

TASK is forward (plain convolution), step (forward and all gradients) or do_step (the same of a
DO-Conv layer). The answer is the median time of a call in seconds, after one untimed call; for no
calls it is two checksums, see `checksum`, of each result. Arrays are those of src/data.rs.

For the TASK error, the answer is the largest error of a forward pass, |y^ - y| / sum(|x| |w|) in units
of 2**-24 against double precision.

TASKs mnist_plain and mnist_do have one number, STEPS: a call is so many steps of training the net of the
example mnist, each on a batch of its own. Its results are their losses.
"""

import functools
import statistics
import sys
import time

import torch
from torch.nn.functional import conv2d, cross_entropy

THREADS, DTYPE = int(sys.argv[1]), getattr(torch, sys.argv[2])
X, WEIGHT, D_OFFSET, DY, CHECKSUM = range(1, 6)


def pattern(count, seed):
    i = torch.arange(count, dtype=torch.int64)
    return ((31 * i * i + 7919 * i + 1000 * seed) % 65521).double() / 65521 - 0.5


def values(shape, seed, scale=1.0):
    count = functools.reduce(lambda a, b: a * b, shape)
    return (pattern(count, seed) * scale).to(DTYPE).reshape(shape).requires_grad_()


def checksum(result):
    """A weighted sum of the elements, and the sum of the sizes of its terms."""
    terms = result.detach().double().flatten() * pattern(result.numel(), CHECKSUM)
    return terms.sum().item(), terms.abs().sum().item()


class Layer:
    """One layer's tensors, and a method for each task; they return all results."""

    def __init__(self, batch, inputs, outputs, image, kernel, stride, padding, dilation, groups):
        taps, group_inputs = kernel * kernel, inputs // groups
        self.kernel, self.groups = kernel, groups
        self.geometry = (stride, padding, dilation, groups)
        self.x = values((batch, inputs, image, image), X)
        self.weight = values((outputs, group_inputs, kernel, kernel), WEIGHT, 0.1)
        with torch.no_grad():
            self.dy = values(conv2d(self.x, self.weight, None, *self.geometry).shape, DY).detach()
        # [group, output, input, s] and [group, input, tap, s]
        self.w = values((groups, outputs // groups, group_inputs, taps), WEIGHT, 0.1)
        self.d_offset = values((groups, group_inputs, taps, taps), D_OFFSET, 0.1)
        self.identity = torch.eye(taps, dtype=DTYPE)

    @torch.no_grad()
    def forward(self):
        return [conv2d(self.x, self.weight, None, *self.geometry)]

    @torch.no_grad()
    def error(self):
        x, weight = self.x.double(), self.weight.double()
        y = conv2d(x, weight, None, *self.geometry)
        sizes = conv2d(x.abs(), weight.abs(), None, *self.geometry)
        (got,) = self.forward()
        return ((got.double() - y).abs() / sizes).max().item() * 2**24

    def step(self):
        return self.differentiate(self.weight, [self.weight])

    def do_step(self):
        if self.kernel == 1:
            return self.step()
        d = self.d_offset + self.identity
        composed = torch.einsum("gits,gois->goit", d, self.w).reshape(self.weight.shape)
        return self.differentiate(composed, [self.w, self.d_offset])

    def differentiate(self, weight, parameters):
        y = conv2d(self.x, weight, None, *self.geometry)
        return [y, *torch.autograd.grad(y, [self.x, *parameters], self.dy)]


class Mnist:
    """The net of the example mnist, plain or of DO-Conv layers, and its training."""

    CHANNELS = (1, 16, 16, 10)
    BATCH, SIDE, CLASSES = 32, 28, 10
    WEIGHT, BIAS, X = 10, 20, 100

    def __init__(self, do, steps):
        self.layers = []
        for index, (inputs, outputs) in enumerate(zip(self.CHANNELS, self.CHANNELS[1:])):
            scale = 2 / (9 * inputs) ** 0.5
            shape = (outputs, inputs, 9) if do else (outputs, inputs, 3, 3)
            weight = values(shape, self.WEIGHT + index, scale)
            bias = values((outputs,), self.BIAS + index, scale)
            d_offset = torch.zeros((inputs, 9, 9), dtype=DTYPE, requires_grad=True) if do else None
            self.layers.append((weight, bias, d_offset))
        self.identity = torch.eye(9, dtype=DTYPE)
        parameters = [p for layer in self.layers for p in layer if p is not None]
        self.optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
        labels = torch.arange(self.BATCH) * 7
        shape = (self.BATCH, 1, self.SIDE, self.SIDE)
        self.batches = [
            (values(shape, self.X + index).detach(), (labels + index) % self.CLASSES)
            for index in range(steps)
        ]

    def logits(self, x):
        for weight, bias, d_offset in self.layers:
            if d_offset is not None:
                d = d_offset + self.identity
                shape = (*weight.shape[:2], 3, 3)
                weight = torch.einsum("its,ois->oit", d, weight).reshape(shape)
            x = conv2d(x, weight, bias, stride=2, padding=1).relu()
        return x.mean((2, 3))

    def train(self):
        losses = []
        for x, labels in self.batches:
            self.optimizer.zero_grad()
            loss = cross_entropy(self.logits(x), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return losses


def median_time(call, calls):
    call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# The layer of the last question is kept: most have many.
layer_of = functools.lru_cache(maxsize=1)(Layer)
mnist_of = functools.lru_cache(maxsize=None)(Mnist)

if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    print(torch.__version__)
    for line in sys.stdin:
        task, *numbers = line.split()
        calls, *geometry = map(int, numbers)
        if task.startswith("mnist_"):
            call = mnist_of(task == "mnist_do", *geometry).train
        else:
            call = getattr(layer_of(*geometry), task)
        if task == "error":
            print(call())
        elif calls:
            print(median_time(call, calls))
        else:
            print(*(number for result in call() for number in checksum(result)))
