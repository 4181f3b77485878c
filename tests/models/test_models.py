"""Architectures: published sizes, and what every entry of the registry promises."""

import copy
import math
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.network.initialize import initialize
from models import ARCHITECTURES, resnet_cifar

RGB_16 = {"in_channels": 3, "image_size": 16}
"""The cheapest that every architecture takes."""
GREY_28 = {"in_channels": 1, "image_size": 28}
RGB_32 = {"in_channels": 3, "image_size": 32}
RGB_64 = {"in_channels": 3, "image_size": 64}
FIXED_WIDTH = {"resnet_18", "resnet_50", "resnet_18_imagenet", "resnet_50_imagenet"}


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def sizes(model: nn.Module) -> tuple[int, int]:
    """Number of prunable weights, and of all parameters."""
    prunable = sum(weight.numel() for weight in weights(model).values())
    return prunable, sum(parameter.numel() for parameter in model.parameters())


def on_meta(build: Callable[..., nn.Module], *args: int, **kwargs: float) -> nn.Module:
    """The network's shapes alone, whatever its size."""
    with torch.device("meta"):
        return build(*args, **kwargs).eval()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Operations this small take many times as long on two threads that other work shares."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """One initialised network per architecture, to be copied before it is changed."""
    return initialize(ARCHITECTURES[request.param](num_classes=10, **RGB_16), seed=0)


@pytest.mark.parametrize(
    ("name", "images", "classes", "expected"),
    [
        ("lenet_300_100", GREY_28, 10, (266_200, 266_610)),
        ("lenet_5", GREY_28, 10, (61_470, 61_706)),
        ("conv_4", RGB_32, 10, (2_425_024, 2_425_930)),
        ("conv_6", RGB_32, 10, (2_261_184, 2_262_602)),
        ("conv_6_bn", RGB_32, 10, (2_261_184, 2_263_498)),
        ("resnet_18", RGB_32, 10, (11_164_352, 11_173_962)),
        ("resnet_50", RGB_32, 10, (23_467_712, 23_520_842)),
        ("resnet_20", RGB_32, 10, (268_336, 269_722)),
        ("resnet_32", RGB_32, 10, (461_872, 464_154)),
        ("resnet_56", RGB_32, 10, (848_944, 853_018)),
        ("vgg_16", RGB_32, 10, (14_715_584, 14_728_266)),
        ("vgg_19", RGB_32, 100, (20_070_080, 20_086_692)),
        ("wide_resnet_10_1", RGB_32, 10, (77_360, 77_850)),
        ("wide_resnet_28_2", RGB_32, 10, (1_463_984, 1_467_610)),
        ("mobilenet_v2", RGB_32, 10, (2_202_560, 2_236_682)),
        ("shufflenet_v2", RGB_32, 10, (344_080, 352_042)),
        ("resnet_18_imagenet", RGB_64, 1000, (11_678_912, 11_689_512)),
        ("resnet_50_imagenet", RGB_64, 1000, (25_502_912, 25_557_032)),
    ],
)
def test_has_the_published_size(
    name: str, images: dict[str, int], classes: int, expected: tuple[int, int]
) -> None:
    assert sizes(on_meta(ARCHITECTURES[name], num_classes=classes, **images)) == expected


@pytest.mark.parametrize("images", [GREY_28, RGB_32, RGB_64], ids=["1x28", "3x32", "3x64"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_maps_images_to_logits(name: str, images: dict[str, int]) -> None:
    if images == GREY_28 and name.endswith("imagenet"):
        with pytest.raises(ValueError, match=r"1 channel\(s\): ImageNet's networks take 3"):
            ARCHITECTURES[name](num_classes=7, **images)
        return
    model = on_meta(ARCHITECTURES[name], num_classes=7, **images)
    side = images["image_size"]
    batch = torch.empty(2, images["in_channels"], side, side, device="meta")
    assert model(batch).shape == (2, 7)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_width_changes_the_channels_or_is_refused(name: str) -> None:
    build = ARCHITECTURES[name]
    if name in FIXED_WIDTH:
        with pytest.raises(ValueError, match=r"width 0\.5 is not supported"):
            build(num_classes=10, width=0.5, **RGB_32)
        return
    narrow = on_meta(build, num_classes=10, width=0.5, **RGB_32)
    assert sizes(narrow) < sizes(on_meta(build, num_classes=10, **RGB_32))
    assert narrow(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_a_quarter_of_resnet_20_has_4_8_16_channels() -> None:
    model = on_meta(ARCHITECTURES["resnet_20"], num_classes=10, width=0.25, **RGB_32)
    channels = [weight.shape[0] for weight in weights(model).values()]
    assert channels == [4] * 7 + [8] * 6 + [16] * 6 + [10]


def test_lenet_5_reaches_the_first_linear_layer_with_5x5_maps() -> None:
    for side in (28, 32):
        model = ARCHITECTURES["lenet_5"](num_classes=10, in_channels=1, image_size=side)
        assert model.fc1.in_features == 16 * 5 * 5


def test_resnet_shortcut_strides_and_pads_with_zeros() -> None:
    block = resnet_cifar.Block(2, 3, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)  # leaves the shortcut alone
    x = torch.arange(2.0 * 4 * 4).view(1, 2, 4, 4)
    out = block(x)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2])
    assert torch.equal(out[:, 2], torch.zeros(1, 2, 2))


def test_vgg_refuses_images_that_four_poolings_would_empty() -> None:
    with pytest.raises(ValueError, match="15 px are too small"):
        ARCHITECTURES["vgg_16"](num_classes=10, in_channels=3, image_size=15)


def test_importing_the_registry_leaves_torchvision_alone() -> None:
    code = "import sys, models; sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_step_changes_every_weight(network: nn.Module) -> None:
    model = copy.deepcopy(network).train()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 16, 16, generator=generator)
    loss = F.cross_entropy(model(images), torch.tensor([3, 7]))
    assert torch.isfinite(loss)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    before = weights(network)
    assert before
    for name, weight in weights(model).items():
        assert not torch.equal(weight, before[name]), name


def test_initialize_repeats_bit_for_bit_and_leaves_global_randomness(network: nn.Module) -> None:
    model = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.add_(1)
    state = torch.get_rng_state()
    assert initialize(model, seed=0) is model
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in network.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_initialize_draws_kaiming_normal_weights(network: nn.Module) -> None:
    for name, weight in weights(network).items():
        expected = math.sqrt(2 / weight[0].numel())
        # Five standard errors of an estimated standard deviation and of a mean.
        error = 5 / math.sqrt(weight.numel())
        assert float(weight.detach().std()) == pytest.approx(expected, rel=error), name
        assert abs(float(weight.detach().mean())) < error * expected, name


def test_initialize_resets_biases_and_normalisation(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            norm = isinstance(network.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d)
            value = 1.0 if norm and name.endswith("weight") else 0.0
            assert torch.equal(parameter, torch.full_like(parameter, value)), name
    for name, buffer in network.named_buffers():
        value = 1.0 if name.endswith("running_var") else 0.0
        assert bool((buffer == value).all()), name


def test_initialize_depends_on_the_seed() -> None:
    build = ARCHITECTURES["lenet_5"]
    one, two = (initialize(build(num_classes=10, **GREY_28), seed) for seed in (0, 1))
    assert not torch.equal(one.conv1.weight, two.conv1.weight)
