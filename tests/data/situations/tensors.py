"""Tensors of every type, stride and class."""

import torch
from __main__ import SpecialTensor
from torch import nn

from .tools import check, counted, legacy, situation, state, taken


@situation("types.pth")
def types():
    floats = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
    integers = [torch.int8, torch.int16, torch.int32, torch.int64,
                torch.uint8, torch.uint16, torch.uint32, torch.uint64]
    tensors = {str(dtype)[6:]: torch.tensor([0, 1, 0.5, 2]).to(dtype) for dtype in floats}
    tensors |= {str(dtype)[6:]: torch.tensor([0, 1, 100]).to(dtype) for dtype in integers}
    tensors |= {"bool": torch.tensor([True, False]), "complex64": torch.tensor([1 + 2j, -0.5j])}
    return tensors, check(taken(tensors))


@situation("types_legacy.pth", legacy)
def types_legacy():
    dtypes = [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.uint8,
              torch.bool, torch.complex64]
    tensors = {str(dtype)[6:]: torch.tensor([0, 1, 1]).to(dtype) for dtype in dtypes}
    return tensors, check(taken(tensors))


@situation("complex128.pth")
def complex128():
    content = {**state(), "wide": torch.tensor([1 + 2j], dtype=torch.complex128)}
    return content, check(taken(state(), passed_over=["wide"]))


@situation("sparse.pth")
def sparse():
    dense = torch.eye(3)
    content = {**state(), "coo": dense.to_sparse(), "csr": dense.to_sparse_csr()}
    return content, check(taken(state(), passed_over={"coo": "sparse", "csr": "sparse"}))


@situation("quantized.pth")
def quantized():
    content = {**state(), "by_tensor": torch.quantize_per_tensor(torch.ones(3), 0.5, 2, torch.qint8),
               "by_channel": torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0,
                                                           torch.quint8)}
    return content, check(taken(state(), passed_over={"by_tensor": "quantized", "by_channel": "quantized"}))


@situation("meta.pth")
def meta():
    content = {**state(), "later": torch.ones(3, device="meta")}
    return content, check(taken(state(), passed_over={"later": "meta"}))


@situation("nested_tensor.pth")
def jagged():
    content = {**state(), "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}
    return content, check(taken(state(), passed_over=["nested"]))


def views():
    """Views of one storage, and some of others."""
    storage = counted(48)
    square = storage[:16].view(4, 4)
    return {
        "transposed": square.t(),
        "part": square[1:3, 2:],
        "every_other": storage[1::2],
        "overlapping": storage.as_strided((3, 4), (2, 1), 5),
        "permuted": storage[:24].view(2, 3, 4).permute(2, 0, 1),
        "expanded": torch.tensor([1.5, 2.5]).expand(3, 2),
        "repeated": torch.tensor(1.5).expand(2, 2),
        "scalar": torch.tensor(7.5),
        "empty": torch.zeros(0, 3),
        "channels_last": counted(1, 2, 3, 2).contiguous(memory_format=torch.channels_last),
        "end": storage[47:],
        "one": square[3:, 3:],
    }


@situation("views.pth")
def views_of_storages():
    return views(), check(taken(views()))


@situation("views_legacy.pth", legacy)
def views_of_storages_legacy():
    return views(), check(taken(views()))


@situation("conjugate.pth")
def conjugate():
    """The bit that says so is beside the elements, which are those of the other."""
    turned = torch.tensor([1 + 2j, 3 - 4j]).conj()
    return {**state(), "turned": turned}, check(taken(state(), passed_over=["turned"]),
                                                taken({**state(), "turned": turned}))


@situation("negative.pth")
def negative():
    turned = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    assert turned.is_neg()
    return {**state(), "turned": turned}, check(taken(state(), passed_over=["turned"]),
                                                taken({**state(), "turned": turned}))


@situation("real_and_imaginary.pth")
def real_and_imaginary():
    numbers = torch.tensor([1 + 2j, 3 - 4j])
    parts = {"both": torch.view_as_real(numbers), "imaginary": numbers.imag}
    return parts, check(taken(parts))


def wrapped(wrap):
    return {name: wrap(tensor) for name, tensor in state().items()}


def with_attribute(tensor):
    parameter = nn.Parameter(tensor)
    parameter.decay, parameter.mask = 0.5, torch.ones(2)
    return parameter


def special_with_attribute(tensor):
    special = tensor.as_subclass(SpecialTensor)
    special.origin = "here"
    return special


@situation("parameters.pth")
def parameters():
    return wrapped(nn.Parameter), check(taken(state()))


@situation("parameters_with_attributes.pth")
def parameters_with_attributes():
    return wrapped(with_attribute), check(taken(state()))


@situation("buffers.pth")
def buffers():
    return wrapped(nn.Buffer), check(taken(state()))


@situation("tensors_of_another_class.pth")
def tensors_of_another_class():
    return wrapped(special_with_attribute), check(taken(state()))


@situation("tensors_with_gradient.pth")
def tensors_with_gradient():
    """What `module.W * 1` gives, and what a training step left its gradient on."""
    leaf = state()["a.W"].requires_grad_()
    leaf.sum().backward()
    tensors = {"a.W": leaf, "a.D": state()["a.D"].requires_grad_() * 1}
    return tensors, check(taken(tensors))


@situation("attribute_on_tensor.pth")
def attribute_on_tensor():
    tensors = state()
    tensors["a.W"].sparsity = 0.5
    return tensors, check(taken(tensors))


@situation("uninitialized.pth")
def uninitialized():
    """A lazy layer that never saw an input."""
    content = {**state(), "lazy.weight": nn.UninitializedParameter()}
    return content, check(taken(state(), passed_over=["lazy.weight"]))
