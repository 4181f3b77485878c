"""Networks of the paper's predictor: the rows of its Table 7, and one score per weight."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from autos.predictors.backbones import BACKBONES
from models import ARCHITECTURES


def on_meta(build: Callable[..., nn.Module], *args: int, **kwargs: float) -> nn.Module:
    """The network's shapes alone, whatever its size."""
    with torch.device("meta"):
        return build(*args, **kwargs).eval()


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("name", BACKBONES)
def test_predictor_gives_one_score_per_weight(name: str, inputs: int) -> None:
    model = on_meta(BACKBONES[name], inputs)
    assert model(torch.empty(3, inputs, device="meta")).shape == (3,)


@pytest.mark.parametrize("name", ["mlp", "resnet18"])
def test_predicted_score_depends_on_its_own_weight_alone(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BACKBONES[name](2)
        features = torch.randn(4, 2)
    last = [module for module in model if isinstance(module, nn.Linear)][-1]
    nn.init.constant_(last.bias, 10.0)  # keeps the output ReLU open
    with torch.no_grad():
        model.train()(features)  # moves the running statistics
        model.eval()
        scores = model(features)
        assert len(scores.unique()) == len(scores)
        for size in (1, 3):
            parts = torch.cat([model(part) for part in features.split(size)])
            torch.testing.assert_close(parts, scores)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(model(features[order]), scores[order])


@pytest.mark.parametrize("inputs", [1, 2])
def test_resnet18_predictor_has_the_rows_of_table_7(inputs: int) -> None:
    model = on_meta(BACKBONES["resnet18"], inputs)
    assert _rows(model) == [
        ("Linear", inputs, 64),
        ("BatchNorm1d", 64),
        ("ReLU",),
        ("Linear", 64, 32 * 32 * 3),
        ("BatchNorm1d", 32 * 32 * 3),
        ("ReLU",),
        ("Unflatten",),
        ("ResNet",),
        ("Linear", 32, 1),
        ("ReLU",),
        ("Flatten",),
    ]
    backbone = model[7]
    build = ARCHITECTURES["resnet_18"]
    target = on_meta(build, num_classes=32, in_channels=3, image_size=32)
    assert shapes(backbone) == shapes(target)


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Shapes of the prunable weights by name."""
    return {
        name: module.weight.shape
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def test_vgg19_predictor_has_the_rows_of_table_7() -> None:
    model = on_meta(BACKBONES["vgg19"], 2)
    rows = _rows(model)
    assert rows[:9] == [
        ("Linear", 2, 64),
        ("BatchNorm1d", 64),
        ("ReLU",),
        ("Linear", 64, 64 * 64),
        ("BatchNorm1d", 64 * 64),
        ("ReLU",),
        ("Linear", 64 * 64, 64 * 64 * 64),
        ("BatchNorm1d", 64 * 64 * 64),
        ("ReLU",),
    ]
    assert rows[-4:] == [("Linear", 64, 1), ("BatchNorm1d", 1), ("ReLU",), ("Flatten",)]
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 16
    assert convolutions[0].in_channels == 64


def _rows(model: nn.Module) -> list[tuple[str | int, ...]]:
    """Kind and sizes of each layer."""
    rows: list[tuple[str | int, ...]] = []
    for module in model.children():
        size: tuple[int, ...] = ()
        if isinstance(module, nn.Linear):
            size = (module.in_features, module.out_features)
        elif isinstance(module, nn.BatchNorm1d):
            size = (module.num_features,)
        rows.append((type(module).__name__, *size))
    return rows
