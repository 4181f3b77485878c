"""AutoS (paper, Algorithm 1): a network that predicts how long a weight survives from its start.

A trained predictor is two files: `predictor.safetensors` and `predictor.json`, which tells what
the inputs are, how they are scaled and what the predictor was trained on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from models.autos import BACKBONES
from pipeline.criterion import Context, Criterion
from pipeline.errors import UserError
from pipeline.files import CURE, check_kind, file_digest, read_json, write_json
from pipeline.gradients import mean_gradient
from pipeline.masks import Scores, prunable
from pipeline.tensors import read_tensors, write_tensors

KIND, VERSION = "AutoS predictor", 1
SCALING = "each input divided by its root mean square over all prunable weights of the network"

Input = Literal["weight", "gradient"]


def features(inputs: Sequence[Input], values: Mapping[Input, Tensor]) -> Tensor:
    """Predictor inputs [n, k] of the n weights of one whole network, comparable across networks.

    Args:
        inputs: which of "weight" and "gradient" to use.
        values: [n] tensors of one network by those names.
    """
    columns = [values[name].double() for name in inputs]
    scaled = [column / column.square().mean().sqrt().clamp(min=1e-30) for column in columns]
    return torch.stack(scaled, dim=1).float()


class Predictor:
    """A trained AutoS network; called with a model and a context, it is a criterion's score.

    Attributes:
        about: settings and provenance, as in `predictor.json`.
    """

    BATCH = 8192

    def __init__(self, network: nn.Module, about: dict[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.about = about

    @property
    def inputs(self) -> list[Input]:
        return self.about["inputs"]

    @property
    def criterion(self) -> Criterion:
        """To be passed to `prune`."""
        return Criterion(self)

    def __call__(self, model: nn.Module, context: Context) -> Scores:
        """Predicted survival of every prunable weight of `model`, in [0, 1] up to error."""
        weights = prunable(model)
        values: dict[Input, Tensor] = {
            "weight": torch.cat([weight.detach().flatten() for weight in weights.values()])
        }
        if "gradient" in self.inputs:
            gradient = mean_gradient(model, context.batches)
            values["gradient"] = torch.cat([gradient[name].flatten() for name in weights])
        scores = self.predict(values).split([weight.numel() for weight in weights.values()])
        return {
            name: score.view(weight.shape)
            for (name, weight), score in zip(weights.items(), scores, strict=True)
        }

    def predict(self, values: Mapping[Input, Tensor]) -> Tensor:
        """Scores [n] from the raw weights and gradients [n] of one whole network."""
        return self.score(features(self.inputs, values))

    @torch.no_grad()
    def score(self, inputs: Tensor) -> Tensor:
        """Scores [n] of scaled inputs [n, k], on the CPU."""
        device = next(self.network.parameters()).device
        return torch.cat([self.network(part.to(device)).cpu() for part in inputs.split(self.BATCH)])

    def save(self, folder: Path) -> None:
        about = {"kind": KIND, "version": VERSION, **self.about}
        write_tensors(
            folder / "predictor.safetensors",
            self.network.state_dict(),
            kind=KIND,
            version=VERSION,
            about=about,
        )
        write_json(folder / "predictor.json", about)

    @staticmethod
    def digest(folder: Path) -> str:
        """Hash of the predictor saved in `folder`. Raises UserError: there is none."""
        return file_digest(folder / "predictor.safetensors")

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Raises UserError: files missing or damaged, or a predictor of another version."""
        folder = Path(folder)
        about = read_json(folder / "predictor.json")
        check_kind(folder / "predictor.json", about, kind=KIND, version=VERSION)
        state, inside = read_tensors(folder / "predictor.safetensors", kind=KIND, version=VERSION)
        if about != inside:
            raise UserError(
                f"{folder / 'predictor.json'}: does not describe predictor.safetensors; {CURE}"
            )
        network = BACKBONES[about["backbone"]](len(about["inputs"]))
        network.load_state_dict(state)
        return cls(network, {k: v for k, v in about.items() if k not in ("kind", "version")})
