"""AutoS (paper, Algorithm 1): a network that predicts how long a weight survives from its start.

A trained predictor is two files: `predictor.safetensors` and `predictor.json`, which tells what
the inputs are, how they are scaled and what the predictor was trained on. The network is stored
with a table of itself, from which weights are scored.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from models.autos import BACKBONES
from pipeline.batches import Batches, Loss, cross_entropy
from pipeline.errors import UserError
from pipeline.files import CURE, SHIPPED, check_kind, file_digest, read_json, write_json
from pipeline.gradients import mean_gradient
from pipeline.prunable import prunable
from pipeline.registry import located
from pipeline.selection import PIECE, Scores, StreamedScores
from pipeline.table import Table
from pipeline.tensors import read_tensors, write_tensors

KIND, VERSION = "AutoS predictor", 3
SCALING = (
    "weights divided by the root mean square of their layer; gradients multiplied by it, and "
    "divided by the root mean square of these products over the network"
)

NETWORK = "network."
"""In front of the names of the network's own tensors in a file."""

BATCH = 256
"""Weights that a network scores at a time; 270 MB of each VGG-19 activation."""

Input = Literal["weight", "gradient"]


def root_mean_square(values: Tensor) -> float:
    """Summed in float64; at least 1e-30, also of no values."""
    squares = 0.0
    for piece in values.flatten().split(PIECE):  # a tenth of the time of a whole
        squares += float(torch.linalg.vector_norm(piece.double())) ** 2
    return max((squares / max(values.numel(), 1)) ** 0.5, 1e-30)


def scales(
    inputs: Sequence[Input], values: Mapping[Input, Mapping[str, Tensor]]
) -> dict[str, list[float]]:
    """Per layer of one whole network, the units in which a predictor reads each of its inputs.

    A weight is measured in units r of its layer's root mean square, and its gradient in units of
    R / r, where R is the root mean square of r times the gradient over the network. So nothing
    changes when a layer's weights are scaled and its gradients inversely, as by another
    initialisation in front of a normalisation.

    Args:
        values: "weight", and "gradient" if it is an input, by layer.
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


def features(
    inputs: Sequence[Input],
    values: Mapping[Input, Tensor],
    sizes: Sequence[int] | None = None,
) -> Tensor:
    """Predictor inputs [n, k] of the n weights of one whole network, comparable across networks.

    Args:
        inputs: which of "weight" and "gradient" to use.
        values: [n] tensors of one network by those names, layer after layer; always "weight".
        sizes: weights in each layer; without it there is one layer.
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
    """Scores [n], on the CPU, of scaled inputs [n, k] by a network that is in eval mode."""
    device = next(network.parameters()).device
    return torch.cat([network(x.to(device)).cpu() for x in inputs.split(BATCH)])


class Predictor:
    """A trained AutoS network, and its table.

    Attributes:
        about: settings and provenance, as in `predictor.json`.
    """

    rounds = 1

    def __init__(self, network: nn.Module, table: Table, about: dict[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.table = table
        self.about = about

    @classmethod
    def compiled(cls, network: nn.Module, about: dict[str, Any]) -> Self:
        """A predictor with a new table of `network`.

        Its `about` gains "table": the nodes per axis, and how far the table is from the network
        ("largest_error", "mean_error") at 1,000 random points as wide as the inputs of real
        networks.
        """
        network.eval()
        count = len(about["inputs"])
        table = Table.of(lambda points: evaluate(network, points), count)
        generator = torch.Generator().manual_seed(0)
        normal = torch.randn(2, 1000, count, generator=generator)
        points = normal[0] * normal[1].exp()
        error = (table(points.unbind(1), [1.0] * count) - evaluate(network, points)).abs()
        figures = {
            "nodes": table.scores.shape[1],
            "largest_error": float(error.max()),
            "mean_error": float(error.mean()),
        }
        return cls(network, table, {**about, "table": figures})

    @property
    def inputs(self) -> list[Input]:
        return self.about["inputs"]

    def survival(self, model: nn.Module, batches: Batches, loss: Loss = cross_entropy) -> Scores:
        """Predicted survival of every prunable weight of `model`, in [0, 1] up to error.

        The scores are computed when they are read.

        Args:
            batches: to take the gradient on, as `prune` takes them.
            loss: of the model's output and a batch.
        """
        values: dict[Input, Mapping[str, Tensor]] = {
            "weight": {name: weight.detach() for name, weight in prunable(model).items()}
        }
        if "gradient" in self.inputs:
            values["gradient"] = mean_gradient(model, batches, loss)
        return PredictedScores(self.table, self.inputs, values)

    def predict(self, values: Mapping[Input, Tensor], sizes: Sequence[int] | None = None) -> Tensor:
        """Scores [n] of one whole network; arguments as those of `features`."""
        scores = PredictedScores(self.table, self.inputs, by_layer(values, sizes))
        return torch.cat(list(scores.values()))

    def score(self, inputs: Tensor) -> Tensor:
        """Scores [n] of scaled inputs [n, k] by the network itself, on the CPU."""
        return evaluate(self.network, inputs)

    def state(self) -> dict[str, Tensor]:
        """The table and the network's parameters and buffers."""
        network = self.network.state_dict()
        return {"table": self.table.scores, **{f"{NETWORK}{k}": v for k, v in network.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], about: dict[str, Any]) -> Self:
        network = BACKBONES[about["backbone"]](len(about["inputs"]))
        network.load_state_dict(
            {k.removeprefix(NETWORK): v for k, v in state.items() if k.startswith(NETWORK)}
        )
        return cls(network, Table(state["table"]), about)

    def save(self, folder: Path | str) -> None:
        folder = Path(folder)
        about = {"kind": KIND, "version": VERSION, **self.about}
        write_tensors(
            folder / "predictor.safetensors",
            self.state(),
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
    def load(cls, folder: Path | str = SHIPPED) -> Self:
        """From a folder, or "models:/NAME@ALIAS" and the like from MLflow's registry.

        Without argument it is the one that comes with the package. MLflow's store is
        `mlflow.db` in the current folder, where `make repro` leaves it, unless
        MLFLOW_TRACKING_URI names another one.

        Raises:
            UserError: files missing or damaged, a predictor of another version, or a model that
                MLflow does not hold or a store that is not reached.
        """
        folder = located(folder)
        about = read_json(folder / "predictor.json")
        check_kind(folder / "predictor.json", about, kind=KIND, version=VERSION)
        state, inside = read_tensors(folder / "predictor.safetensors", kind=KIND, version=VERSION)
        if about != inside:
            raise UserError(
                f"{folder / 'predictor.json'}: does not describe predictor.safetensors; {CURE}"
            )
        about = {k: v for k, v in about.items() if k not in ("kind", "version")}
        return cls.from_state(state, about)


class PredictedScores(StreamedScores):
    """A predictor's table applied to the weights, and gradients, of one whole network.

    Args:
        inputs: of the predictor.
        values: "weight", and "gradient" if it is an input, by parameter name.
    """

    def __init__(
        self, table: Table, inputs: Sequence[Input], values: Mapping[Input, Mapping[str, Tensor]]
    ) -> None:
        self.table = table
        self.inputs = [values[name] for name in inputs]
        self.scales = scales(inputs, values)

    def pieces(self, name: str) -> Iterator[Tensor]:
        flat = [layers[name].flatten().split(PIECE) for layers in self.inputs]
        for parts in zip(*flat, strict=True):
            yield self.table(parts, self.scales[name]).cpu()

    def __getitem__(self, name: str) -> Tensor:
        return torch.cat(list(self.pieces(name))).view(self.inputs[0][name].shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.scales)

    def __len__(self) -> int:
        return len(self.scales)
