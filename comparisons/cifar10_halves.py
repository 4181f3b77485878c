"""Two image sets of five classes each, out of CIFAR-10: `python -m comparisons.cifar10_halves DIR`.

DIR holds `train/<class>/*` and `test/<class>/*`, one file per image. The halves, the first and the
last five classes by name, go to data/raw/cifar10_first and data/raw/cifar10_last.
"""

import shutil
import sys
from pathlib import Path

OUT = Path("data/raw")
IMAGES = {"train": 1000, "test": 200}
"""Number of images of each class, by split; the first ones by name are taken."""


def main(root: Path) -> None:
    """Copy the images of each half of CIFAR-10 into a folder of its own."""
    classes = sorted(path.name for path in (root / "train").iterdir())
    for half, names in (("first", classes[:5]), ("last", classes[5:])):
        for split, count in IMAGES.items():
            for name in names:
                target = OUT / f"cifar10_{half}" / split / name
                target.mkdir(parents=True, exist_ok=True)
                for image in sorted((root / split / name).iterdir())[:count]:
                    shutil.copy2(image, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
