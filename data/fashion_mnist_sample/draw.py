"""Draw the images in this folder from the full Fashion-MNIST: draw.py FULL_SET [TARGET]

FULL_SET is a folder with the four original .gz files, such as Debian's package
dataset-fashion-mnist puts into /usr/share/datasets/fashion-mnist. TARGET is this folder unless
given. Of every class 1,200 training and 500 test images are drawn; they stay in their order.
"""

import gzip
import hashlib
import io
import struct
import sys
from pathlib import Path

import numpy as np

SEED = 0
PER_CLASS = {"train": 1_200, "t10k": 500}
ORIGINALS = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the contents, as Debian's .gz headers lack the names and times of Zalando's."""


def main(full_set: Path, target: Path) -> None:
    # The only generator whose numbers NumPy promises never to change (NEP 19).
    generator = np.random.RandomState(SEED)
    sums = []
    for part, count in PER_CLASS.items():
        images_name, labels_name = (name for name in ORIGINALS if name.startswith(part))
        images = original(full_set, images_name)[16:].reshape(-1, 28 * 28)
        labels = original(full_set, labels_name)[8:]
        drawn = np.sort(
            np.concatenate(
                [generator.permutation(np.flatnonzero(labels == c))[:count] for c in range(10)]
            )
        )
        images_head = struct.pack(">4I", 0x803, len(drawn), 28, 28)
        labels_head = struct.pack(">2I", 0x801, len(drawn))
        for name, content in (
            (images_name, images_head + images[drawn].tobytes()),
            (labels_name, labels_head + labels[drawn].tobytes()),
        ):
            packed = compressed(content)
            (target / f"{name}.gz").write_bytes(packed)
            sums.append(f"{hashlib.sha256(packed).hexdigest()}  {name}.gz\n")
    (target / "SHA256SUMS").write_text("".join(sums))


def original(full_set: Path, name: str) -> np.ndarray:
    content = gzip.decompress((full_set / f"{name}.gz").read_bytes())
    if hashlib.sha256(content).hexdigest() != ORIGINALS[name]:
        sys.exit(f"{full_set / name}.gz: is not the original (the SHA-256 of its content differs)")
    return np.frombuffer(content, np.uint8)


def compressed(content: bytes) -> bytes:
    """Compress without name and time; unlike gzip.compress, the same in every Python version."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as file:
        file.write(content)
    return packed.getvalue()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    here = Path(__file__).parent
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else here)
