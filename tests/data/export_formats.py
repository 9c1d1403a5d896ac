"""Write one small state in every format that the checkpoint readers take, and a pickle that calls things.

    python export_formats.py

Needs torch, numpy and safetensors. The files go to formats/, described in README.md.
"""

import pathlib
import pickle

import numpy as np
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent / "formats"


def counted(dtype, *shape):
    """0, 1, 2, ... by halves, exact in every floating-point type used here."""
    numbers = torch.arange(int(np.prod(shape, dtype=int)), dtype=torch.float64).reshape(shape)
    return (numbers / 2 if dtype.is_floating_point else numbers).to(dtype)


STATE = {
    "f16": counted(torch.float16, 2, 3),
    "bf16": counted(torch.bfloat16, 3, 2),
    "f32": counted(torch.float32, 2, 3, 4),
    "f64": counted(torch.float64, 5),
    "i64": counted(torch.int64, 4),
    "u8": counted(torch.uint8, 3),
    "bool": torch.tensor([True, False, True]),
    "scalar": torch.tensor(7.5),
    "empty": torch.zeros(0, 3),
    "transposed": counted(torch.float32, 3, 4).t(),
    "part": counted(torch.float32, 4, 4)[1:3, 2:],
    "expanded": torch.tensor([1.5, 2.5]).expand(3, 2),
    "block.0.weight": counted(torch.float32, 2, 2),
}
STATE["tied"] = STATE["block.0.weight"]


class Call:
    """Unpickled, it runs a command."""

    def __reduce__(self):
        import os

        return os.system, ("touch do-conv-was-here",)


def main():
    HERE.mkdir(exist_ok=True)
    torch.save(STATE, HERE / "state.pth")
    torch.save(STATE, HERE / "state_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": STATE, "epoch": 3, "name": "net"}, HERE / "nested.pth")
    save_file({name: tensor.contiguous().clone() for name, tensor in STATE.items()}, HERE / "state.safetensors",
              metadata={"format": "pt", "note": "as it is"})
    torch.save({"f32": STATE["f32"], "call": Call()}, HERE / "call.pth", pickle_module=pickle)

    arrays = {name: tensor.numpy() for name, tensor in STATE.items() if tensor.dtype != torch.bfloat16}
    arrays["transposed"] = np.asfortranarray(arrays["transposed"])
    arrays["f32"] = np.asfortranarray(arrays["f32"].astype(">f4"))
    arrays["i64"] = arrays["i64"].astype(">i8")
    np.savez(HERE / "state.npz", **arrays)
    np.savez_compressed(HERE / "state_compressed.npz", **arrays)
    np.savez(HERE / "objects.npz", f32=arrays["f32"], objects=np.array([Call()], dtype=object))


if __name__ == "__main__":
    main()
