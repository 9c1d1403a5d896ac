"""State dicts alone, in every way that torch.save and pickle have."""

import io
import pickle
import sys
import zipfile

import torch
from __main__ import Net

from .tools import (archive, check, counted, dumped, joined, layer, legacy, net_state, protocol, refused, saved,
                    situation, state, taken, tensors_alone)


@situation("state_dict.pth")
def state_dict():
    """An OrderedDict with the attribute `_metadata`."""
    return Net(layer()).state_dict(), check(taken(net_state()))


@situation("state_dict_legacy.pth", legacy)
def state_dict_legacy():
    return Net(layer()).state_dict(), check(taken(net_state()))


@situation("protocol_4.pth", protocol(4))
def protocol_4():
    return Net(layer()).state_dict(), check(taken(net_state()))


@situation("protocol_5.pth", protocol(5))
def protocol_5():
    return Net(layer()).state_dict(), check(taken(net_state()))


@situation("protocol_4_legacy.pth", protocol(4, legacy))
def protocol_4_legacy():
    return state(), check(taken(state()))


@situation("pickle_dump.pkl", dumped(4))
def pickle_dump():
    """Each tensor is a whole file of torch.save in a byte string."""
    return state(), check(taken(state()))


@situation("pickle_dump_protocol_2.pkl", dumped(2))
def pickle_dump_protocol_2():
    return {"weight": counted(2, 3)}, check(taken({"weight": counted(2, 3)}))


def without_checksums(content, path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    saved(content, path)
    torch.serialization.set_crc32_options(before)


@situation("without_checksums.pth", without_checksums)
def checksums_off():
    return state(), check(taken(state()))


def rewritten(change):
    """Saves as torch does, and then the archive's entries as `change` gives them for name and bytes."""

    def save(content, path):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                data = change(name, old.read(name))
                if data is not None:
                    new.writestr(zipfile.ZipInfo(name), data)

    return save


def swapped(name, data):
    """As a big-endian machine writes an archive of float32."""
    if name.endswith("/byteorder"):
        return b"big"
    if "/data/" not in name:
        return data
    return b"".join(data[start:start + 4][::-1] for start in range(0, len(data), 4))


@situation("big_endian.pth", rewritten(swapped))
def big_endian():
    return state(), check(taken(state()))


@situation("before_byteorder.pth", rewritten(lambda name, data: None if name.endswith("/byteorder") else data))
def before_byteorder():
    """An older torch's archive, which doesn't tell its byte order."""
    assert sys.byteorder == "little"
    return state(), check(taken(state()))


@situation("in_memory_archive.pt", rewritten(lambda _, data: data))
def in_memory_archive():
    """Saved to a buffer, so that its folder is `archive`, and packed anew, so that nothing is aligned."""
    return state(), check(taken(state()))


@situation("tied.pth")
def tied():
    tensors = layer()
    twice = joined(a=tensors, b=tensors)
    return twice, check(taken(twice))


@situation("tied_legacy.pth", legacy)
def tied_legacy():
    tensors = layer()
    twice = joined(a=tensors, b=tensors)
    return twice, check(taken(twice))


@situation("nested.pth")
def nested():
    """A state dict in parts, none of which is the whole."""
    encoder, decoder = state(), state(start=20)
    names = joined(encoder=encoder, decoder=decoder)
    return ({"encoder": encoder, "decoder": decoder}, check(taken(names)), check(taken(names), key="."),
            check(taken(decoder, key="decoder", passed_over=["encoder"]), key="decoder"))


@situation("shared_part.pth")
def shared_part():
    """One dictionary in two others."""
    shared = layer()
    names = {f"{side}.{name}": tensor for side, start in [("left", 30), ("right", 40)]
             for name, tensor in {"V": counted(2, start=start), **joined(a=shared)}.items()}
    sides = {side: {"V": names[f"{side}.V"], "a": shared} for side in ("left", "right")}
    return sides, check(taken(names))


@situation("unusual_names.pth")
def unusual_names():
    names = {"Schicht 1.W": layer()["W"], "Schicht 1.D": layer()["D"], "層/γ": counted(2), "x" * 300: counted(1)}
    return names, check(taken(names))


@situation("names_collide.pth")
def names_collide():
    content = {**state("c"), "c": {"W": counted(2, 1, 4, start=3)}}
    return content, check(refused("Format", "c.W")), check(refused("Format", "c.W"), key=".")


@situation("names_meet_in_one_tensor.pth")
def names_meet_in_one_tensor():
    tensors = state("c")
    return {**tensors, "c": {"W": tensors["c.W"]}}, check(taken(tensors))


@situation("integer_and_string_keys_collide.pth")
def integer_and_string_keys_collide():
    return {1: counted(2), "1": counted(3)}, check(refused("Format", "1"))


@situation("state.safetensors", tensors_alone)
def safetensors():
    return state(), check(taken(state())), check(refused("Config", "key"), key="model")


@situation("half.safetensors", tensors_alone)
def safetensors_of_half():
    return state(dtype=torch.bfloat16), check(taken(state(dtype=torch.bfloat16)))


@situation("state.npz", archive)
def npz():
    return {name: tensor.numpy() for name, tensor in state().items()}, check(taken(state()))


def with_separate_buffers(content, path):
    """Protocol 5 with the arrays' bytes outside, which are lost."""
    path.write_bytes(pickle.dumps(content, protocol=5, buffer_callback=lambda _: None))


@situation("buffers_elsewhere.pkl", with_separate_buffers)
def buffers_elsewhere():
    arrays = {"weight": counted(2, 3).numpy()}
    return arrays, check(refused("Format"), taken({}, passed_over=["weight"]))
