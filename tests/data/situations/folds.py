"""Layers that a fold must look twice at."""

import math

import torch

from .tools import check, counted, error, net_state, saved, situation, taken, tensors_alone


def with_bias(number):
    return {**net_state(), "a.bias": torch.tensor([0.5, number])}


@situation("bias_not_a_number.pth")
def bias_not_a_number():
    content = with_bias(math.nan)
    return content, check(taken(content, refused_fold=error("Value", "a.bias")))


@situation("bias_infinite.safetensors", tensors_alone)
def bias_infinite():
    content = with_bias(-math.inf)
    return content, check(taken(content, refused_fold=error("Value", "a.bias")))


def averaged(number, dtype):
    """The mean of that many checkpoints of one training, summed in their own type, the identity with them."""
    states = [net_state(start=3 * index, dtype=dtype) for index in range(number)]
    return {name: sum(state[name] / number for state in states) for name in states[0]}


def average_of(file, number, dtype, save=saved):
    @situation(file, save)
    def average():
        content = averaged(number, dtype)
        assert content["a.d_diag"].max() != 1
        return content, check(taken(content))


average_of("average_of_ten.pth", 10, torch.float32)
average_of("average_of_eleven.safetensors", 11, torch.float32, tensors_alone)
average_of("average_of_six_half.pth", 6, torch.float16)
average_of("average_of_seven_bfloat16.pth", 7, torch.bfloat16)


@situation("average_just_below.pth")
def average_just_below():
    content = net_state()
    content["a.d_diag"] *= 1 - 2**-24
    assert content["a.d_diag"].max() == 1 - 2**-24
    return content, check(taken(content))


@situation("groups.pth")
def groups():
    """Two groups of two inputs and two outputs, paired as the published code does."""
    content = {"g.W": counted(4, 2, 4), "g.D": counted(4, 4, 4, start=9),
               "g.d_diag": torch.eye(4).repeat(4, 1, 1), "g.bias": counted(4)}
    return content, check(taken(content))


@situation("wide.pth")
def wide():
    """A depth multiplier of twice the taps and one more."""
    identity = torch.zeros(1, 4, 9)
    for s in range(8):
        identity[0, s % 4, s] = 1
    content = {"a.W": counted(2, 1, 9), "a.D": counted(1, 4, 9, start=9), "a.d_diag": identity}
    return content, check(taken(content))


@situation("burn_in_training.safetensors", tensors_alone)
def burn_in_training():
    """A burn model's reparameterized Conv2d: W has the kernel's shape, and D is beside it."""
    w, d = counted(2, 1, 2, 2), counted(1, 4, 4, start=9)
    composed = ((d[0] + torch.eye(4)).double().numpy() @ w.reshape(2, 4).double().numpy().T).T.reshape(2, 1, 2, 2)
    content = {"a.weight": w, "a.weight.do_conv.D": d, "a.bias": counted(2)}
    outcome = taken(content, layers=["a"], kernels={"a": composed})
    return content, check(outcome)


@situation("burn_wide.safetensors", tensors_alone)
def burn_wide():
    """With a depth multiplier of more than the taps, W has the shape [O, n, S, 1]."""
    w, d = counted(2, 1, 5, 1), counted(1, 4, 5, start=9)
    composed = ((d[0] + torch.eye(4, 5)).double().numpy() @ w.reshape(2, 5).double().numpy().T).T.reshape(2, 1, 2, 2)
    content = {"a.weight": w, "a.weight.do_conv.D": d}
    return content, check(taken(content, layers=["a"], kernels={"a": composed}))


@situation("identity_of_other_name.safetensors", tensors_alone)
def identity_under_the_other_name():
    content = {name.replace("d_diag", "D_diag"): tensor for name, tensor in net_state().items()}
    return content, check(taken(content))
