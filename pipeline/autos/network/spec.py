"""A network as settings name it: a model, its width, its first weights, and its image set."""

from typing import Annotated

from pydantic import AfterValidator, Field
from torch import nn

from autos.config import Config, Name
from autos.images.image_set import ImageSet
from autos.network.pretrained import weights_digest
from autos.network.zoo import build, known_architecture, model_digest


class NetworkConfig(Config):
    """A network and the image set that it is for."""

    architecture: Annotated[str, AfterValidator(known_architecture)]
    """Name of a model, see `autos.network.zoo`; a factory of the user's gets those of the arguments
    `num_classes`, `in_channels`, `image_size` and `width` that it names."""
    width: float = Field(default=1.0, gt=0, le=1000)
    """Multiplies the number of channels, for architectures that allow it."""
    images: Name
    """Name of a prepared image set."""
    weights: str | None = None
    """A safetensors file or "torchvision:NAME" to start from in the place of random weights."""

    def build(self, images: ImageSet, *, seed: int) -> nn.Module:
        """Build the network at its initialisation, in training mode.

        Args:
            images: The image set by the name `images`.
            seed: Seed of the random weights. With `weights`, it only draws a last layer that is
                for other classes.

        Raises:
            SettingError: There is no such model, or it does not take this width or these images.
            UserError: The weights do not fit the model, or the user's code fails.
        """
        return build(
            self.architecture,
            seed=seed,
            form=lambda: images.form,
            fitted=True,
            width=self.width,
            weights=self.weights,
        ).train()

    def digests(self) -> dict[str, str]:
        """Return what else than these settings determines the network, for `Unit.inputs`.

        Raises:
            UserError: There is no such file of weights, or no such module of the user's.
        """
        weights = {} if self.weights is None else {"weights": weights_digest(self.weights)}
        return {"architecture": model_digest(self.architecture), **weights}
