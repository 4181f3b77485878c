"""The paper's predictor (AutoS paper, Algorithm 1): a network foresees how long a weight survives.

A trained predictor is two files: `autos_paper.safetensors`, and `autos_paper.json`, which tells
what the inputs are, how they are scaled and what the predictor was trained on. The network is
stored with a lookup of itself, from which weights are scored.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from autos.errors import DamagedFileError, brief
from autos.masks.selection import PIECE, Scores, StreamedScores
from autos.network.batches import Batches, Loss, cross_entropy
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable
from autos.predictors.backbones import BACKBONES
from autos.predictors.base import SHIPPED, Predictor
from autos.predictors.lookup import Lookup, agreement
from autos.storage.files import file_digest
from autos.storage.mlflow_models import located
from autos.storage.predictor_files import Input, PaperFile
from autos.storage.tensors import read_tensors, write_tensors

KIND, VERSION = PaperFile.KIND, PaperFile.VERSION
ABOUT, STATE = "autos_paper.json", "autos_paper.safetensors"

SCALING = (
    "weights divided by the root mean square of their layer; gradients multiplied by it, and "
    "divided by the root mean square of these products over the network"
)

LOOKUP, NETWORK = "lookup", "network."
"""Name of the lookup in a file, and what the names of the network's own tensors begin with."""

FAITHFUL = 0.999
"""Share of kept weights in which the lookup and the network agree, at least, if it stands in."""

BATCH = 256
"""Number of weights that a network scores together; 270 MB of each VGG-19 activation."""


def root_mean_square(values: Tensor) -> float:
    """Return the root mean square, summed in float64; at least 1e-30, also of no values."""
    squares = 0.0
    for piece in values.flatten().split(PIECE):  # Pieces take a tenth of the time of a whole.
        squares += float(torch.linalg.vector_norm(piece.double())) ** 2
    return max((squares / max(values.numel(), 1)) ** 0.5, 1e-30)


def scales(
    inputs: Sequence[Input], values: Mapping[Input, Mapping[str, Tensor]]
) -> dict[str, list[float]]:
    """Return the units in which the predictor reads each of its inputs, for every layer.

    A weight is measured in units r of its layer's root mean square, and its gradient in units of
    R / r, where R is the root mean square of r times the gradient over the network. So nothing
    changes when a layer's weights are scaled and its gradients inversely, as by another
    initialisation in front of a normalisation.

    Args:
        inputs: Inputs of the predictor.
        values: "weight", and "gradient" if it is an input, of one whole network by layer.
    """
    weight = {name: root_mean_square(layer) for name, layer in values["weight"].items()}
    units: dict[Input, Mapping[str, float]] = {"weight": weight}
    if "gradient" in inputs:
        layers = values["gradient"]
        squares = sum(
            layer.numel() * (root_mean_square(layer) * weight[name]) ** 2
            for name, layer in layers.items()
        )
        count = sum(layer.numel() for layer in layers.values())
        whole = max((squares / max(count, 1)) ** 0.5, 1e-30)
        units["gradient"] = {name: whole / size for name, size in weight.items()}
    return {name: [units[i][name] for i in inputs] for name in weight}


def scaled_inputs(
    inputs: Sequence[Input],
    values: Mapping[Input, Tensor],
    sizes: Sequence[int] | None = None,
) -> Tensor:
    """Scale the inputs of one whole network, so that they compare across networks.

    Args:
        inputs: Which of "weight" and "gradient" to use.
        values: Tensors [n] of one network by those names, layer after layer; always "weight".
        sizes: Number of weights in each layer; without it there is one layer.

    Returns:
        Scaled inputs [n, k] of the n weights.
    """
    layered = by_layer(values, sizes)
    units = scales(inputs, layered)
    columns = [[layered[i][name] / units[name][k] for name in units] for k, i in enumerate(inputs)]
    return torch.stack([torch.cat(column) for column in columns], dim=1)


def by_layer(
    values: Mapping[Input, Tensor], sizes: Sequence[int] | None
) -> dict[Input, dict[str, Tensor]]:
    """Split each of the values [n] into layers, named by their position."""
    return {
        name: {str(i): part for i, part in enumerate(v.split(list(sizes) if sizes else [len(v)]))}
        for name, v in values.items()
    }


@torch.no_grad()
def evaluate(network: nn.Module, inputs: Tensor) -> Tensor:
    """Score scaled inputs [n, k] by a network that is in eval mode; scores [n] are on the CPU."""
    device = next(network.parameters()).device
    return torch.cat([network(x.to(device)).cpu() for x in inputs.split(BATCH)])


def typical_points(inputs: int) -> Tensor:
    """Draw 1,000 points [n, inputs] as wide as the inputs of real networks, the same each time."""
    normal = torch.randn(2, 1000, inputs, generator=torch.Generator().manual_seed(0))
    return normal[0] * normal[1].exp()


class CoarseLookupWarning(UserWarning):
    """A lookup is too coarse, so that the network itself scores, which takes longer."""


class PaperPredictor(Predictor):
    """The paper's predictor, trained: its network, and the lookup that weights are scored from.

    Attributes:
        network: The network, in eval mode.
        lookup: The network, tabulated.
        about: Settings and provenance, as in `autos_paper.json`.

    Example:
        >>> import torch
        >>> from autos import PaperPredictor, prune
        >>> network = torch.nn.Linear(8, 4)
        >>> batches = [(torch.randn(32, 8), torch.randint(4, (32,)))]
        >>> prune(network, PaperPredictor.load(), batches, density=0.25).kept
        8
    """

    name = "autos_paper"
    files = (ABOUT, STATE)
    rounds = 1

    def __init__(self, network: nn.Module, lookup: Lookup, about: dict[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.lookup = lookup
        self.about = about

    @classmethod
    def compiled(cls, network: nn.Module, about: dict[str, Any]) -> Self:
        """Make a predictor with a new lookup of `network`.

        Its `about` gains "lookup": the nodes per axis, how far the lookup is from the network
        ("largest_error", "mean_error") at random points, and the share of the kept ones of these in
        which masks from both agree ("agreement").
        """
        network.eval()
        count = len(about["inputs"])
        lookup = Lookup.of(lambda points: evaluate(network, points), count)
        points = typical_points(count)
        looked_up = lookup(points.unbind(1), [1.0] * count)
        scores = evaluate(network, points)
        error = (looked_up - scores).abs()
        figures = {
            "nodes": lookup.scores.shape[1],
            "largest_error": float(error.max()),
            "mean_error": float(error.mean()),
            "agreement": agreement(looked_up, scores),
        }
        return cls(network, lookup, {**about, "lookup": figures})

    @property
    def inputs(self) -> list[Input]:
        """What the predictor looks at."""
        return self.about["inputs"]

    @cached_property
    def agreement(self) -> float:
        """Share of kept weights in which the lookup and the network agree, at random points."""
        told = self.about.get("lookup", {}).get("agreement")
        if told is not None:
            return told
        points = typical_points(len(self.inputs))
        looked_up = self.lookup(points.unbind(1), [1.0] * len(self.inputs))
        return agreement(looked_up, self.score(points))

    def survival(self, model: nn.Module, batches: Batches, loss: Loss = cross_entropy) -> Scores:
        """Foresee the survival of every prunable weight, in [0, 1] up to error.

        The scores are looked up when they are read; where the lookup would give other masks than
        the network, the network has scored them all.

        Args:
            model: The network.
            batches: What the gradient is taken on.
            loss: Function of the model's output and a batch.

        Warns:
            CoarseLookupWarning: The network itself scores.
        """
        values: dict[Input, Mapping[str, Tensor]] = {
            "weight": {name: weight.detach() for name, weight in prunable(model).items()}
        }
        if "gradient" in self.inputs:
            values["gradient"] = mean_gradient(model, batches, loss)
        return self._scores(values)

    def predict(self, values: Mapping[Input, Tensor], sizes: Sequence[int] | None = None) -> Tensor:
        """Return scores [n] of one whole network; the arguments are those of `scaled_inputs`."""
        scores = self._scores(by_layer(values, sizes))
        return torch.cat([part.flatten() for part in scores.values()])

    def _scores(self, values: Mapping[Input, Mapping[str, Tensor]]) -> Scores:
        if self.agreement >= FAITHFUL:
            return PredictedScores(self.lookup, self.inputs, values)
        warnings.warn(
            f"the lookup of {self.name} and its network agree on {self.agreement:.3f} of the kept "
            "weights only, so the network itself scores, which takes longer",
            CoarseLookupWarning,
            stacklevel=2,
        )
        return dict(PredictedScores(self._unscaled, self.inputs, values))

    def _unscaled(self, values: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        """Score inputs [n] by the network as the lookup does, each in its unit."""
        columns = [value.float() / scale for value, scale in zip(values, scales, strict=True)]
        return self.score(torch.stack(columns, dim=1))

    def score(self, inputs: Tensor) -> Tensor:
        """Score scaled inputs [n, k] by the network itself; scores [n] are on the CPU."""
        return evaluate(self.network, inputs)

    def state(self) -> dict[str, Tensor]:
        """Return the lookup, and the network's parameters and buffers."""
        network = self.network.state_dict()
        return {LOOKUP: self.lookup.scores, **{f"{NETWORK}{k}": v for k, v in network.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], about: dict[str, Any]) -> Self:
        """Make a predictor of what `state` returned, and of its `about`."""
        network = BACKBONES[about["backbone"]](len(about["inputs"]))
        network.load_state_dict(
            {k.removeprefix(NETWORK): v for k, v in state.items() if k.startswith(NETWORK)}
        )
        return cls(network, Lookup(state[LOOKUP]), about)

    def save(self, folder: Path | str) -> None:
        folder = Path(folder)
        about = {"kind": KIND, "version": VERSION, **self.about}
        write_tensors(folder / STATE, self.state(), kind=KIND, version=VERSION, about=about)
        PaperFile.validated(self.about, self.name).save(folder / ABOUT)

    @classmethod
    def digest(cls, folder: Path) -> str:
        return file_digest(folder / STATE)

    @classmethod
    def load(cls, folder: Path | str = SHIPPED) -> Self:
        folder = located(folder)
        told = PaperFile.load(folder / ABOUT).model_dump(exclude_unset=True)
        state, inside = read_tensors(folder / STATE, kind=KIND, version=VERSION)
        about = {k: v for k, v in inside.items() if k not in ("kind", "version")}
        if about != told:
            raise DamagedFileError(f"{folder / ABOUT}: does not describe {STATE}")
        try:
            return cls.from_state(state, about)
        except (LookupError, RuntimeError, ValueError) as error:
            raise DamagedFileError(f"{folder / STATE}: damaged ({brief(error)})") from None


class PredictedScores(StreamedScores):
    """A predictor applied to the weights, and gradients, of one whole network.

    Args:
        score: Function of inputs [n] and the unit of each of them, such as a lookup, to scores [n].
        inputs: Inputs of the predictor.
        values: "weight", and "gradient" if it is an input, by parameter name.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Tensor], Sequence[float]], Tensor],
        inputs: Sequence[Input],
        values: Mapping[Input, Mapping[str, Tensor]],
    ) -> None:
        self.score = score
        self.inputs = [values[name] for name in inputs]
        self.scales = scales(inputs, values)

    def pieces(self, name: str) -> Iterator[Tensor]:
        flat = [layers[name].flatten().split(PIECE) for layers in self.inputs]
        for parts in zip(*flat, strict=True):
            yield self.score(parts, self.scales[name]).cpu()

    def __getitem__(self, name: str) -> Tensor:
        return torch.cat(list(self.pieces(name))).view(self.inputs[0][name].shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.scales)

    def __len__(self) -> int:
        return len(self.scales)
