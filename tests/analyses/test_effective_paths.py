"""Effective weights, units and paths."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.analyses.effective_paths import effective
from autos.errors import UserError
from autos.masks.mask import Mask
from autos.network.prunable import prunable
from models import ARCHITECTURES


def perceptron(*sizes):
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def random_mask(model, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = prunable(model).items()
    return Mask({name: torch.rand(w.shape, generator=generator) < density for name, w in weights})


def paths(found):
    return 10**found.log10_paths


@pytest.mark.parametrize("sizes", [(5, 7, 3), (4, 6, 5, 2), (2, 1)])
def test_a_dense_perceptron_has_the_product_of_its_widths(sizes):
    model = perceptron(*sizes)
    found = effective(model, Mask.dense(model), sizes[:1])
    assert paths(found) == pytest.approx(math.prod(sizes), rel=1e-10)
    assert found.mask.density == 1
    assert list(found.units.values()) == list(sizes[1:])


def brute_force(masks):
    """Weights on a path, and the number of paths, by walking all paths of a perceptron."""
    used = [torch.zeros_like(keep) for keep in masks]
    count = 0

    def walk(layer, unit, edges):
        nonlocal count
        if layer == len(masks):
            count += 1
            for index, edge in enumerate(edges):
                used[index][edge] = True
            return
        for after in range(len(masks[layer])):
            if masks[layer][after, unit]:
                walk(layer + 1, after, [*edges, (after, unit)])

    for unit in range(masks[0].shape[1]):
        walk(0, unit, [])
    return used, count


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_walking_all_paths(seed):
    model = perceptron(6, 5, 4, 3)
    mask = random_mask(model, 0.3, seed)
    used, count = brute_force(list(mask.keep.values()))
    found = effective(model, mask, (6,))
    assert all(
        torch.equal(keep, want) for keep, want in zip(found.mask.keep.values(), used, strict=True)
    )
    assert paths(found) == pytest.approx(count)
    assert list(found.units.values()) == [int(want.any(dim=1).sum()) for want in used]
    assert found.mask.density <= mask.density


def test_cutting_the_outputs_of_a_unit_takes_its_inputs_along(cut):
    model = perceptron(5, 7, 3)
    mask = cut(Mask.dense(model), "2.weight", (slice(None), 4))
    found = effective(model, mask, (5,))
    assert not found.mask.keep["0.weight"][4].any()
    assert found.mask.kept == mask.kept - 5
    assert found.units == {"0.weight": 6, "2.weight": 3}
    assert paths(found) == pytest.approx(5 * 6 * 3)


def test_nothing_is_effective_behind_an_empty_layer(cut):
    model = perceptron(5, 7, 3)
    mask = cut(Mask.dense(model), "0.weight", slice(None))
    found = effective(model, mask, (5,))
    assert found.mask.kept == 0 and set(found.units.values()) == {0}
    assert found.log10_paths == -math.inf


def test_values_biases_and_the_model_itself_do_not_matter(conv_net):
    mask = random_mask(conv_net, 0.4)
    want = effective(conv_net, mask, (1, 8, 8))
    with torch.no_grad():
        for tensor in (*conv_net.parameters(), *conv_net.buffers()):
            tensor.fill_(-5)
    conv_net.train()
    found = effective(conv_net, mask, (1, 8, 8))
    assert all(torch.equal(found.mask.keep[name], want.mask.keep[name]) for name in mask.keep)
    assert (found.units, found.log10_paths) == (want.units, want.log10_paths)
    assert all((parameter == -5).all() for parameter in conv_net.parameters())
    assert conv_net.training


def test_a_bias_begins_no_path(cut):
    """A unit without inputs has a bias; what it feeds is not connected to the input."""
    model = perceptron(5, 7, 3)
    mask = cut(Mask.dense(model), "0.weight", 4)
    found = effective(model, mask, (5,))
    assert not found.mask.keep["2.weight"][:, 4].any()
    assert found.mask.kept == mask.kept - 3


class Bypassed(nn.Module):
    """Normalised, bounded and pooled by layers and by functions."""

    def __init__(self, pool):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm, self.bound = nn.BatchNorm2d(3), nn.ReLU6()
        self.pool, self.fc = pool, nn.Linear(3, 2)

    def forward(self, x):
        x = F.relu6(self.bound(self.norm(self.conv(x)))).sigmoid().tanh()
        x = self.pool(F.layer_norm(x, x.shape[1:]))
        return self.fc(x.sum(dim=(2, 3))).log_softmax(dim=1)


@pytest.mark.parametrize(
    ("pool", "share"),
    [
        (nn.Identity(), 1),
        (nn.MaxPool2d(4), 1 / 16),
        (lambda x: F.max_pool2d(x, 2), 1 / 4),
        (lambda x: torch.max_pool2d(x, 2, 2, 0, 1, True), 1 / 4),
        (nn.AdaptiveMaxPool2d(1), 1 / 16),
        (nn.AdaptiveAvgPool2d(1), 1 / 16),
    ],
)
def test_only_sums_and_averages_are_left(pool, share):
    """Pixels of 4 x 4 have 10 x 10 neighbours, at the rim fewer: the mean is not the maximum.

    With 3 channels and 2 outputs there are 600 paths, divided by the size of the windows.
    """
    model = Bypassed(pool)
    found = effective(model, Mask.dense(model), (1, 4, 4))
    assert paths(found) == pytest.approx(600 * share)
    assert found.mask.density == 1


def test_a_kernel_is_effective_only_where_it_meets_the_image():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2, 2))
    found = effective(model, Mask.dense(model), (1, 1, 1))
    only_centre = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    only_centre[..., 1, 1] = True
    assert torch.equal(found.mask.keep["0.weight"], only_centre)
    assert paths(found) == pytest.approx(4)


def test_a_shortcut_is_a_path(cut):
    """Residual network: an empty convolution in a block leaves the shortcut, and its twin dead."""
    model = ARCHITECTURES["resnet_20"](num_classes=3, in_channels=1, image_size=8, width=0.25)
    mask = cut(Mask.dense(model), "stage2.1.conv1.weight", slice(None))
    found = effective(model, mask, (1, 8, 8))
    assert found.units["stage2.1.conv2.weight"] == 0
    assert found.units["stage2.0.conv2.weight"] > 0 and found.units["fc.weight"] == 3


def test_depth_overflows_nothing(cut):
    """400 times 10 units have 10^400 paths; double precision ends at 10^308."""
    model = perceptron(*[10] * 400)
    mask = Mask.dense(model)
    *_, before, last = mask.keep
    mask = cut(mask, last, (slice(None), 3))
    found = effective(model, mask, (10,))
    assert found.log10_paths == pytest.approx(399 + math.log10(9))
    assert found.mask.kept == mask.kept - 10 and not found.mask.keep[before][3].any()


def test_attention_is_refused():
    model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    with pytest.raises(UserError, match="a network with attention is no sum over paths"):
        effective(model, Mask.dense(model), (3, 4))


def test_a_mask_of_another_network_is_refused(mlp):
    with pytest.raises(UserError, match="mask does not fit the model"):
        effective(mlp, Mask({"fc1.weight": torch.ones(3, 2).bool()}), (64,))
