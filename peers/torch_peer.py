"""PyTorch's side of the peer table: torch_peer.py THREADS DTYPE

Says its version in a line, then answers each line of its input by one line:

    TASK CALLS BATCH INPUTS OUTPUTS IMAGE KERNEL STRIDE PADDING DILATION GROUPS

TASK is forward (plain convolution), step (forward and all gradients) or do_step (the same of a
DO-Conv layer). The answer is the median time of a call in seconds, after one untimed call; for no
calls it is two checksums, see `checksum`, of each result. Arrays are those of src/data.rs.
"""

import functools
import statistics
import sys
import time

import torch
from torch.nn.functional import conv2d

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

if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    print(torch.__version__)
    for line in sys.stdin:
        task, *numbers = line.split()
        calls, *geometry = map(int, numbers)
        call = getattr(layer_of(*geometry), task)
        if calls:
            print(median_time(call, calls))
        else:
            print(*(number for result in call() for number in checksum(result)))
