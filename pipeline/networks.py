"""A network as `params.yaml` names it: architecture, width, and the image set it is for."""

from pydantic import Field, field_validator
from torch import nn

from models import ARCHITECTURES
from models._init import initialize
from pipeline.config import Config, Name
from pipeline.errors import UserError, unknown
from pipeline.images import ImageSet


class NetworkConfig(Config):
    """One entry of a mapping of sources or targets."""

    architecture: str
    width: float = Field(default=1.0, gt=0)
    """Multiplies the number of channels, for architectures that allow it."""
    images: Name
    """An image set of section `prepare`."""

    @field_validator("architecture")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ARCHITECTURES:
            raise ValueError(unknown("architecture", name, ARCHITECTURES))
        return name

    def build(self, images: ImageSet, *, seed: int) -> nn.Module:
        """The network at its initialisation: Kaiming-normal weights drawn with `seed`.

        Raises:
            UserError: the architecture does not take this width or image size.
        """
        try:
            model = ARCHITECTURES[self.architecture](
                num_classes=images.classes,
                in_channels=images.channels,
                image_size=images.size,
                width=self.width,
            )
        except ValueError as error:
            raise UserError(f"params.yaml: {self.architecture}: {error}") from None
        return initialize(model, seed)
