"""DVC stage `prepare`: image sets become zarr stores with a fixed split."""

from pathlib import Path

from pydantic import Field

from autos.config import Config, Name
from autos.images.datasets.base import ImageSource
from autos.images.prepare import prepare
from stages._params import section
from stages._stage import Stage

OUT = Path("data/images")


class PrepareConfig(Config):
    """Section `prepare` of params.yaml."""

    images: dict[Name, ImageSource] = Field(min_length=1)
    """Image sets by the name that sources and targets use."""


def main() -> None:
    """Run the stage: prepare all image sets."""
    config = section(PrepareConfig, "prepare")
    with Stage("prepare", config) as stage:
        for name, source in config.images.items():
            about = prepare(source, OUT / f"{name}.zarr")
            sizes = {f"{name}.{split}": size for split, size in about["sizes"].items()}
            stage.run.log(metrics=sizes)
