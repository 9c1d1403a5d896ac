"""Writes the seed corpora of the fuzz targets: small checkpoints of each format.

Needs torch, numpy and safetensors: python seed.py
"""

import io
import pathlib
import zipfile

import numpy as np
import torch
from safetensors.torch import save

here = pathlib.Path(__file__).parent / "seeds"


def write(target, name, data):
    folder = here / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def joined(parts):
    """As `joined` of src/lib.rs."""
    out = b""
    for part in parts:
        sixteens = -(-len(part) // 16)
        out += bytes([sixteens]) + part + b" " * (16 * sixteens - len(part))
    return out


def layer(groups, i, o, m, n, s, dtype):
    generator = torch.Generator().manual_seed(groups + i + o)
    rand = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)
    mn = m * n
    identity = torch.zeros(i, mn, s)
    for t in range(s // mn * mn):
        identity[:, t % mn, t] = 1
    return {"a.W": rand(o, i // groups, s), "a.D": rand(i, mn, s), "a.d_diag": identity.to(dtype), "a.bias": rand(o)}


states = {
    "dense": layer(1, 2, 2, 2, 2, 4, torch.float32),
    "grouped": layer(2, 4, 4, 1, 4, 5, torch.float16),
    "depthwise": layer(3, 3, 3, 1, 2, 4, torch.bfloat16),
    "pointwise": {"a.W": torch.ones(2, 3, 1, dtype=torch.float64), "b.weight": torch.zeros(2, dtype=torch.int64)},
    "norm": {"module.bn.running_mean": torch.zeros(3), "flag": torch.tensor(True), "empty": torch.zeros(0, 4)},
}
for name, state in states.items():
    file = save(state, metadata={"format": "pt"} if name == "dense" else None)
    write("safetensors", f"{name}-whole", b"\xff" + file)
    write("safetensors", name, bytes([int.from_bytes(file[:8], "little") // 8]) + file[8:])

    views = dict(state)
    if name == "dense":
        views["b.W"] = state["a.W"].transpose(0, 1)
        views["tied"] = state["a.bias"]
    buffer = io.BytesIO()
    torch.save(views, buffer)
    archive = zipfile.ZipFile(buffer)
    prefix = archive.namelist()[0].split("/")[0]
    parts, index = [archive.read(f"{prefix}/data.pkl")], 0
    while f"{prefix}/data/{index}" in archive.namelist():
        parts.append(archive.read(f"{prefix}/data/{index}"))
        index += 1
    write("torch_zip", name, b"\x00" + joined(parts))
    write("torch_zip", f"{name}-compressed", b"\x01" + joined(parts))
    write("archive", f"torch-{name}", buffer.getvalue()[2:])

    for protocol in (2, 4):
        buffer = io.BytesIO()
        torch.save({"state_dict": state, "epoch": 3}, buffer, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
        write("torch_legacy", f"{name}-{protocol}", buffer.getvalue())

    if state.get("a.W", torch.ones(())).dtype == torch.bfloat16:
        continue
    arrays = {
        "a.W": state.get("a.W", torch.ones(2)).numpy(),
        "a.D": np.asfortranarray(state.get("a.D", torch.ones(2, 3)).numpy()),
        "a.bias": state.get("a.bias", torch.ones(2)).numpy().astype(">f4"),
        "b/kernel": np.ones((4, 2, 2), np.float32),
        "b/D": np.ones((4, 4, 2), np.float32),
        "c.weight": np.ones((), np.complex64),
    }
    files = []
    for array in arrays.values():
        buffer = io.BytesIO()
        np.save(buffer, array)
        files.append(buffer.getvalue())
    write("npz", name, b"\x00" + joined(files))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write("archive", f"npz-{name}", buffer.getvalue()[2:])
