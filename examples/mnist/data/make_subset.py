#!/usr/bin/env python3
"""Cut a class-balanced subset out of the full MNIST or Fashion-MNIST set.

    python3 make_subset.py FULL_SET_FOLDER OUTPUT_FOLDER [TRAINING TEST]

TRAINING and TEST are images of each class, 704 and 200 without. Both folders hold the four
gzip-compressed IDX files under their usual names. The first images of every class are kept, in the
order of the full set; there is no chance in it, and equal input gives equal files (the compressed
bytes may differ between builds of zlib, never what they unpack to).
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

CLASSES = 10
# Images per class: 1.5 MB in all. 10 x 704 is a multiple of the example's batch of 32.
SETS = {"train": 704, "t10k": 200}
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801


def read(path, magic, dimensions):
    """The dimensions after the first one, and one `bytes` per item."""
    content = gzip.decompress(path.read_bytes())
    header = 4 + 4 * dimensions
    if len(content) < header:
        sys.exit(f"{path}: expected a header of {header} bytes, found {len(content)} bytes")
    found, count, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
    if found != magic:
        sys.exit(f"{path}: expected the magic number {magic:#010x}, found {found:#010x}")
    size = 1
    for extent in shape:
        size *= extent
    if len(content) != header + count * size:
        sys.exit(f"{path}: expected {header + count * size} bytes, found {len(content)}")
    return shape, [content[i : i + size] for i in range(header, len(content), size)]


def write(path, magic, shape, items):
    content = struct.pack(f">{2 + len(shape)}I", magic, len(items), *shape) + b"".join(items)
    with path.open("wb") as file:
        # No file name and no time in the header, so that equal images make equal files.
        with gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
            packed.write(content)
    print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
    print(f"{hashlib.sha256(content).hexdigest()}  {path.stem}")


def main():
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    source, target = map(Path, sys.argv[1:3])
    sets = dict(zip(SETS, map(int, sys.argv[3:]))) or SETS
    target.mkdir(parents=True, exist_ok=True)
    for name, per_class in sets.items():
        images_file, labels_file = f"{name}-images-idx3-ubyte.gz", f"{name}-labels-idx1-ubyte.gz"
        shape, images = read(source / images_file, IMAGES_MAGIC, 3)
        _, labels = read(source / labels_file, LABELS_MAGIC, 1)
        if len(images) != len(labels):
            sys.exit(f"{source / labels_file}: expected {len(images)} labels, found {len(labels)}")

        taken = [0] * CLASSES
        kept = []
        for index, (label,) in enumerate(labels):
            if label >= CLASSES:
                sys.exit(f"{source / labels_file}: expected labels below {CLASSES}, found {label}")
            if taken[label] < per_class:
                taken[label] += 1
                kept.append(index)
        if min(taken) < per_class:
            sys.exit(f"{source / labels_file}: expected {per_class} of each class, found {taken}")

        write(target / images_file, IMAGES_MAGIC, shape, [images[i] for i in kept])
        write(target / labels_file, LABELS_MAGIC, [], [labels[i] for i in kept])


if __name__ == "__main__":
    main()
