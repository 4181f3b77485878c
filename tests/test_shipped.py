"""The predictor that comes with the package: where it comes from, and that it is of use."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from pipeline.compute import Hardware
from pipeline.criteria import CRITERIA
from pipeline.irp import next_round
from pipeline.masks import Mask
from pipeline.predictor import SHIPPED, Predictor
from pipeline.predictor_training import PredictorConfig
from pipeline.pruning import prune
from pipeline.recipes import TrainConfig
from pipeline.training import fit
from stages.irp import IRPConfig

PROFILE = Path(__file__).parents[1] / "profiles" / "shipped.yaml"


@pytest.fixture(scope="module")
def autos():
    return Predictor.load()


def test_it_was_trained_as_its_profile_says(autos):
    profile = yaml.safe_load(PROFILE.read_text())
    sources = IRPConfig.model_validate({"sources": autos.about["sources"]})
    assert sources == IRPConfig.model_validate(profile["irp"])
    training = PredictorConfig.model_validate(profile["train_predictor"])
    assert autos.about["training"] == training.model_dump(mode="json")


def test_its_files_are_small_and_name_no_place_on_a_machine():
    assert {path.name for path in SHIPPED.iterdir()} == {"predictor.json", "predictor.safetensors"}
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 5e6
    text = (SHIPPED / "predictor.json").read_text()  # the other file holds the same
    assert not re.search(r'["= ](~|/\w)', text)
    assert re.search(r'["= ](~|/\w)', text.replace("fashion_mnist_sample", "/data/images"))


def test_its_table_is_close_to_its_network(autos):
    assert autos.about["table"]["mean_error"] < 1e-4
    points = torch.randn(1000, 2)
    tabulated = autos.table(points.unbind(1), [1.0, 1.0])
    assert (tabulated - autos.score(points)).abs().max() < 5e-3


@pytest.mark.parametrize("axis", [0, 1], ids=["weight", "gradient"])
def test_more_of_either_input_is_worth_more_on_average(autos, axis):
    """Over both signs and ten values of the other input, from a tenth to three times the root
    mean square."""
    other = torch.logspace(-1, 0.5, 10)
    signs = torch.tensor([-1.0, 1.0])

    def mean(size: float) -> float:
        one, two = torch.meshgrid(size * signs, torch.cat([other, -other]), indexing="ij")
        pair = [one.flatten(), two.flatten()]
        return float(autos.score(torch.stack([pair[axis], pair[1 - axis]], dim=1)).mean())

    means = [mean(size) for size in (0.1, 0.5, 1.0, 2.0, 3.0)]
    assert means == sorted(means) and means[-1] > means[0] + 0.05


@pytest.mark.parametrize("density", [0.5, 0.1])
def test_it_prunes_networks_that_it_has_never_seen(autos, mlp, conv_net, batches, density):
    for model in (mlp, conv_net):
        mask = prune(model, autos, batches, density=density)
        assert mask.kept == round(density * mask.total)


@pytest.mark.parametrize("network", ["mlp", "conv_net"])
def test_it_foresees_survivors_better_than_chance(autos, network, images, batches, request):
    """IRP of a network that is none of its sources; by chance a tenth of the survivors is met."""
    model = request.getfixturevalue(network)
    recipe = TrainConfig(epochs=4, batch_size=25, optimizer="adam", lr=0.01, schedule="cosine")
    survivors = Mask.dense(model)
    for density in (0.5, 0.2, 0.1):
        survivors, _ = next_round(
            model,
            survivors,
            train=lambda model, mask: fit(
                model, images, recipe, seed=0, mask=mask, hardware=Hardware(accelerator="cpu")
            ),
            criterion=CRITERIA["magnitude"],
            batches=batches,
            density=density,
        )
    foreseen = prune(model, autos, batches, density=0.1)
    met = sum(int((keep & foreseen.keep[name]).sum()) for name, keep in survivors.keep.items())
    assert met > 3 * 0.1 * survivors.kept
