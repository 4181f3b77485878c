"""A network as `params.yaml` names it: architecture, width, and the image set it is for."""

from typing import Annotated

from pydantic import Field
from torch import nn

from models import ARCHITECTURES
from models._init import initialize
from pipeline.config import Config, Name, one_of
from pipeline.errors import UserError
from pipeline.images import ImageSet
from pipeline.pretrained import load_pretrained, weights_digest


class NetworkConfig(Config):
    """One entry of a mapping of sources or targets."""

    architecture: Annotated[str, one_of("architecture", ARCHITECTURES)]
    width: float = Field(default=1.0, gt=0)
    """Multiplies the number of channels, for architectures that allow it."""
    images: Name
    """An image set of section `prepare`."""
    weights: str | None = None
    """A safetensors file or "torchvision:NAME" to start from in the place of random weights."""

    def build(self, images: ImageSet, *, seed: int) -> nn.Module:
        """The network at its initialisation: Kaiming-normal weights drawn with `seed`.

        With `weights`, the seed only draws a last layer that is for other classes.

        Raises:
            UserError: the architecture does not take this width or image size, or the weights do
                not fit it.
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
        initialize(model, seed)
        if self.weights is not None:
            load_pretrained(model, self.weights)
        return model

    def digests(self) -> dict[str, str]:
        """What else than these settings determines the network, for `Unit.inputs`."""
        return {} if self.weights is None else {"weights": weights_digest(self.weights)}
