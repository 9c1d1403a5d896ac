"""Files that are no checkpoint: each is told by its first bytes, not by its name."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import torch
from torch import nn

from .tools import check, counted, refused, situation, state, written

LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'5e' * 32}\nsize 46830571\n"
HTML = "<!DOCTYPE html>\n<html><head><title>Virus scan warning</title></head><body>Too large</body></html>\n"
XML = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0, 4, 0, 16, 0]) + bytes(76)
GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
ZSTANDARD = b"\x28\xb5\x2f\xfd\x04\x58" + b"\x41\x00\x00hello, hello" + bytes(4)
TFLITE = (28).to_bytes(4, "little") + b"TFL3" + bytes(40)
PNG = b"\x89PNG\r\n\x1a\n" + bytes([0, 0, 0, 13]) + b"IHDR" + bytes(17)
PARQUET = b"PAR1" + bytes(20) + b"PAR1"
INDEX = json.dumps({"metadata": {"total_size": 100},
                    "weight_map": {"a.W": "model-00001-of-00002.safetensors"}}, indent=2)
# A graph "main" of one node, as protocol buffers: ir_version, producer_name, graph, opset_import.
ONNX = (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0\x3a\x1a\x0a\x10\x0a\x01x\x12\x01y\x1a\x01n\x22\x05Relu\x12\x06main_g"
        + b"\x42\x02\x10\x11")


def other_file(file, content, *words):
    @situation(file, written)
    def other():
        return content, check(refused("Format", *words))


def bytes_of(save):
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def packed(buffer):
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "nothing of use")


def tarred(buffer):
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("model.pth")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"none"))


other_file("lfs_pointer.pth", LFS_POINTER, "git-LFS pointer")
other_file("lfs_pointer.safetensors", LFS_POINTER, "git-LFS pointer")
other_file("web_page.pth", HTML, "HTML page")
other_file("web_page_lower_case.pt", "\n<html>\n<body>Not found</body></html>", "HTML page")
other_file("access_denied.pth", XML)
other_file("not_found.pth", "404: Not Found", "text")
other_file("notes.txt", "Weights of the run of Monday.\n", "text")
other_file("model.safetensors.index.json", INDEX)
other_file("empty.pth", b"", "empty")
other_file("zeros.pth", bytes(600))
other_file("compressed.pth.gz", gzip.compress(bytes_of(lambda buffer: torch.save(counted(2), buffer)), mtime=0), "gzip")
other_file("compressed.pth.bz2", bz2.compress(b"checkpoint"))
other_file("compressed.pth.xz", lzma.compress(b"checkpoint"))
other_file("compressed.pth.zst", ZSTANDARD, "zstd")
other_file("keras.h5", HDF5, "HDF5")
other_file("exported.onnx", ONNX, "ONNX")
other_file("quantized.gguf", GGUF, "GGUF")
other_file("quantized.tflite", TFLITE)
other_file("picture.png", PNG)
other_file("table.parquet", PARQUET)
other_file("packed.zip", bytes_of(packed))
other_file("packed.tar", bytes_of(tarred)[:1024])
other_file("array.npy", bytes_of(lambda buffer: np.save(buffer, counted(2, 3).numpy())), ".npy")
other_file("number.pkl", pickle.dumps(5))

WHOLE = bytes_of(lambda buffer: torch.save(state(), buffer))
other_file("download_broken_off.pth", WHOLE[:len(WHOLE) * 2 // 3])
LEGACY = bytes_of(lambda buffer: torch.save(state(), buffer, _use_new_zipfile_serialization=False))
other_file("download_broken_off_legacy.pth", LEGACY[:len(LEGACY) - 40])


class Doubled(nn.Module):
    def forward(self, x):
        return x + x


@situation("scripted.pt", lambda content, path: torch.jit.save(content, str(path)))
def scripted():
    return torch.jit.trace(Doubled(), torch.ones(1)), check(refused("Format", "TorchScript archive"))
