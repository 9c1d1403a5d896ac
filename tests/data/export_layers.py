"""Write golden data for DO-Conv layers, computed by PyTorch autograd in float64.

    python export_layers.py OUT.safetensors         write all cases
    python export_layers.py --check IN.safetensors  recompute the outputs stored in a file

Needs torch, numpy and safetensors. The format is described in README.md.

The kernel is composed by gathering one slice of D per (output channel, kernel channel) with an
explicit index array, so nothing here depends on how an implementation reshapes its arrays.
Wherever the gathered slice belongs to the channel the kernel really reads, feature composition
(depthwise by D, then grouped 1x1 by W) must give the same output and gradients.
"""

import json
import sys
import zlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.numpy import save

SEED = 2006_12030
TOLERANCE = 1e-12
INPUTS = ("x", "d_offset", "w", "bias")


def case(x, out, kernel, stride=(1, 1), pad=(0, 0, 0, 0), dilation=(1, 1), groups=1, d_mul=None,
         bias=True, mode="zeros", pairing="input_channel"):
    """The shape of x and the geometry; `pad` is top, left, bottom, right."""
    return x, {
        "kernel_size": list(kernel),
        "stride": list(stride),
        "padding_top_left_bottom_right": list(pad),
        "dilation": list(dilation),
        "groups": groups,
        "d_mul": d_mul or kernel[0] * kernel[1],
        "bias": bias,
        "in_channels": x[1],
        "out_channels": out,
        "padding_mode": mode,
        "pairing": pairing,
    }


CASES = {
    # Padding modes. Reflect may pad by at most size - 1, circular by at most size: both reached.
    "reflect_asymmetric": case((1, 3, 4, 6), 4, (3, 3), pad=(3, 1, 0, 2), mode="reflect"),
    "replicate_stride": case((2, 2, 7, 6), 4, (3, 3), (2, 2), (1, 1, 1, 1), mode="replicate"),
    "replicate_beyond_input": case((1, 2, 2, 3), 3, (3, 3), pad=(4, 0, 1, 5), mode="replicate"),
    "circular_dilated": case((2, 2, 6, 4), 4, (3, 3), pad=(2, 4, 2, 4), dilation=(2, 4), mode="circular"),
    "reflect_non_square": case((1, 2, 5, 7), 3, (3, 5), pad=(1, 2, 1, 2), mode="reflect", bias=False),
    "circular_non_square": case((1, 2, 7, 5), 4, (5, 2), (1, 2), (3, 0, 1, 1), mode="circular"),
    "reflect_depthwise": case((1, 3, 4, 5), 3, (3, 3), pad=(1, 2, 1, 2), groups=3, mode="reflect"),
    # Pairings of D with W that differ from the true input channel.
    "pytorch_pairing": case((1, 6, 5, 4), 6, (3, 3), pad=(1, 1, 1, 1), groups=3, pairing="pytorch"),
    "pytorch_pairing_over": case((1, 4, 4, 5), 8, (2, 3), (2, 1), groups=2, d_mul=8, bias=False, pairing="pytorch"),
    "tensorflow_pairing": case((1, 6, 4, 5), 6, (2, 3), pad=(0, 1, 1, 1), groups=3, pairing="tensorflow"),
    "tensorflow_pairing_one_to_one": case((1, 8, 4, 4), 4, (3, 2), groups=4, pairing="tensorflow"),
    # Depthwise and grouped.
    "depthwise_dilated_stride": case((1, 3, 11, 9), 3, (3, 3), (2, 2), (2, 2, 2, 2), (2, 2), groups=3),
    "depthwise_5x5_multiplier": case((1, 2, 6, 7), 6, (5, 5), pad=(2, 2, 2, 2), groups=2),
    "grouped_stride_remainder": case((1, 4, 9, 8), 6, (3, 3), (3, 2), (1, 0, 0, 0), groups=2),
    "grouped_tiled_identity": case((1, 4, 4, 5), 6, (2, 3), pad=(1, 1, 0, 1), groups=2, d_mul=13),
    # Kernel shapes.
    "kernel_1x5": case((1, 3, 4, 8), 4, (1, 5), pad=(0, 2, 0, 2)),
    "kernel_4x1": case((2, 3, 9, 4), 4, (4, 1), (2, 1), (1, 0, 2, 0)),
    "kernel_2x4_asymmetric": case((1, 3, 5, 7), 4, (2, 4), pad=(0, 1, 1, 2)),
    "stem_7x7": case((1, 2, 9, 8), 3, (7, 7), (2, 2), (3, 3, 3, 3), bias=False),
    # Extreme sizes.
    "padding_beyond_input": case((1, 2, 3, 2), 3, (3, 3), (2, 1), (5, 4, 4, 5)),
    "single_output_pixel": case((2, 2, 2, 3), 3, (3, 4), pad=(1, 0, 0, 1)),
    "one_pixel_images": case((5, 3, 1, 1), 4, (3, 3), pad=(1, 1, 1, 1)),
    "wide_channels": case((1, 40, 4, 4), 33, (3, 3), pad=(1, 1, 1, 1)),
    "dilation_beyond_input": case((1, 3, 4, 5), 4, (3, 3), pad=(6, 7, 6, 7), dilation=(6, 7)),
    # 1x1 kernels have no D.
    "pointwise_grouped_stride": case((1, 6, 5, 7), 9, (1, 1), (2, 3), groups=3),
    "pointwise_padded": case((1, 3, 3, 4), 5, (1, 1), (1, 2), (1, 0, 2, 1)),
}


def make_inputs(name, x_shape, g):
    """Normal data, rounded so that every value is exact in float32."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])

    def normal(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(np.float32).astype(np.float64)

    taps = g["kernel_size"][0] * g["kernel_size"][1]
    n, s = g["in_channels"] // g["groups"], g["d_mul"]
    inputs = {"x": normal(*x_shape), "w": normal(g["out_channels"], n, s, scale=(n * taps) ** -0.5)}
    if taps > 1:
        inputs["d_offset"] = normal(g["in_channels"], taps, s, scale=0.25)
    if g["bias"]:
        inputs["bias"] = normal(g["out_channels"])
    return inputs, normal


def gathered_channels(g):
    """`c[o][i]`: the channel of D that is composed with `W[o, i]`."""
    groups, n = g["groups"], g["in_channels"] // g["groups"]
    r = g["out_channels"] // groups
    rule = {
        "input_channel": lambda o, i: (o // r) * n + i,
        "pytorch": lambda o, i: (o % groups) * n + i,
        "tensorflow": lambda o, i: i * groups + o // r,
    }[g["pairing"]]
    return [[rule(o, i) for i in range(n)] for o in range(g["out_channels"])]


def full_d(d_offset):
    """D = d_offset + identity; the identity is tiled as often as it fits whole."""
    _, taps, s = d_offset.shape
    identity = torch.zeros(taps, s, dtype=torch.float64)
    for j in range(taps * (s // taps)):
        identity[j % taps, j] = 1.0
    return d_offset + identity


def pad(x, g):
    top, left, bottom, right = g["padding_top_left_bottom_right"]
    mode = {"zeros": "constant"}.get(g["padding_mode"], g["padding_mode"])
    return F.pad(x, (left, right, top, bottom), mode=mode)


def kernel_composition(t, g):
    if "d_offset" in t:
        d = full_d(t["d_offset"])[torch.tensor(gathered_channels(g))]  # [O, I/g, MN, S]
        kernel = torch.einsum("oims,ois->oim", d, t["w"])
    else:
        kernel = t["w"]
    kernel = kernel.reshape(*kernel.shape[:2], *g["kernel_size"])
    y = F.conv2d(pad(t["x"], g), kernel, t.get("bias"), g["stride"], 0, g["dilation"], g["groups"])
    return kernel, y


def feature_composition(t, g):
    channels, taps, s = t["d_offset"].shape
    d = full_d(t["d_offset"]).permute(0, 2, 1).reshape(channels * s, 1, *g["kernel_size"])
    features = F.conv2d(pad(t["x"], g), d, None, g["stride"], 0, g["dilation"], channels)
    w = t["w"].reshape(g["out_channels"], -1, 1, 1)
    return F.conv2d(features, w, t.get("bias"), 1, 0, 1, g["groups"])


def leaves(inputs):
    return {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in inputs.items() if k in INPUTS}


def assert_close(what, got, want):
    error = np.abs(got - want).max() / max(np.abs(want).max(), 1e-300)
    assert got.shape == want.shape and error <= TOLERANCE, f"{what}: relative error {error:.1e}"


def outputs(name, inputs, dy, g):
    """Kernel, y and all gradients; `dy` is the upstream gradient or a function of y's shape."""
    t = leaves(inputs)
    kernel, y = kernel_composition(t, g)
    dy = dy(*y.shape) if callable(dy) else dy
    y.backward(torch.from_numpy(dy))
    result = {"kernel": kernel.detach(), "y": y.detach(), **{"d" + k: v.grad for k, v in t.items()}}
    result = {k: np.ascontiguousarray(v.numpy()) for k, v in result.items()}

    if "d_offset" in inputs and gathered_channels(g) == gathered_channels({**g, "pairing": "input_channel"}):
        t = leaves(inputs)
        y = feature_composition(t, g)
        y.backward(torch.from_numpy(dy))
        assert_close(f"{name}/y by features", y.detach().numpy(), result["y"])
        for k, v in t.items():
            assert_close(f"{name}/d{k} by features", v.grad.numpy(), result["d" + k])
    return {"dy": dy, **result}


def sorted_header(file):
    """The same safetensors file with its header in a fixed order, so that equal data is equal bytes."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]


def export(path):
    tensors, metadata = {}, {}
    for name, (x_shape, g) in CASES.items():
        inputs, normal = make_inputs(name, x_shape, g)
        arrays = {**inputs, **outputs(name, inputs, normal, g)}
        tensors.update({f"{name}/{k}": v for k, v in arrays.items()})
        metadata[name] = json.dumps(g)
    with open(path, "wb") as f:
        f.write(sorted_header(save(tensors, metadata)))
    print(f"{path}: {len(CASES)} cases")


def check(path):
    with safe_open(path, "np") as f:
        cases = {name: json.loads(text) for name, text in f.metadata().items()}
        tensors = {k: f.get_tensor(k) for k in f.keys()}
    for name, g in cases.items():
        g = {"padding_mode": "zeros", "pairing": "input_channel", **g}
        stored = {k.split("/")[1]: v for k, v in tensors.items() if k.split("/")[0] == name}
        inputs = {k: v for k, v in stored.items() if k in INPUTS}
        computed = {**inputs, **outputs(name, inputs, stored["dy"], g)}
        assert computed.keys() == stored.keys(), f"{name}: {computed.keys() ^ stored.keys()}"
        for k, v in computed.items():
            assert_close(f"{name}/{k}", stored[k], v)
    print(f"{path}: {len(cases)} cases agree")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        export(sys.argv[1])
    elif len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
    else:
        sys.exit(__doc__)
