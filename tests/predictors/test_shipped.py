"""The predictors that come with the package: where they come from, and that they are of use."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from autos.compute import Hardware
from autos.irp.rounds import irp
from autos.methods.criteria import CRITERIA
from autos.predictors import PREDICTORS
from autos.predictors.autos import AutoS
from autos.predictors.base import SHIPPED
from autos.predictors.config import PredictorsConfig
from autos.predictors.paper import PaperPredictor
from autos.pruning import prune
from autos.training.loop import fit
from autos.training.recipe import TrainConfig
from stages.irp import IRPConfig

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(scope="module")
def paper():
    return PaperPredictor.load()


@pytest.fixture(params=PREDICTORS)
def predictor(request):
    return PREDICTORS[request.param].load()


def test_they_were_trained_as_the_default_pipeline_says(predictor, paper):
    params = yaml.safe_load(PARAMS.read_text())
    sources = IRPConfig.model_validate({"sources": predictor.about["sources"]})
    assert sources == IRPConfig.model_validate(params["irp"])
    training = PredictorsConfig.model_validate(params["train_predictor"])
    assert paper.about["training"] == training.autos_paper.model_dump(mode="json")
    assert training.sources == "all"


def test_flow_counts_for_autos_and_a_crowd_on_the_way_to_a_unit_against():
    coefficients = AutoS.load().coefficients
    assert coefficients["path"] > 0 > coefficients["unit"]


def test_the_files_are_small_and_name_no_place_on_a_machine():
    assert {path.name for path in SHIPPED.iterdir()} == {
        "autos.json",
        "autos_paper.json",
        "autos_paper.safetensors",
    }
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 5e6
    for name in ("autos.json", "autos_paper.json"):  # the other file holds the same as the second
        text = (SHIPPED / name).read_text()
        assert not re.search(r'["= ](~|/\w)', text)
    assert re.search(r'["= ](~|/\w)', text.replace("fashion_mnist_sample", "/data/images"))


def test_its_table_is_close_to_its_network(paper):
    assert paper.about["lookup"]["mean_error"] < 1e-4
    points = torch.randn(1000, 2)
    tabulated = paper.lookup(points.unbind(1), [1.0, 1.0])
    assert (tabulated - paper.score(points)).abs().max() < 5e-3


@pytest.mark.parametrize("axis", [0, 1], ids=["weight", "gradient"])
def test_more_of_either_input_is_worth_more_on_average(paper, axis):
    """Over both signs and ten values of the other input, from a tenth to three times the root
    mean square."""
    other = torch.logspace(-1, 0.5, 10)
    signs = torch.tensor([-1.0, 1.0])

    def mean(size: float) -> float:
        one, two = torch.meshgrid(size * signs, torch.cat([other, -other]), indexing="ij")
        pair = [one.flatten(), two.flatten()]
        return float(paper.score(torch.stack([pair[axis], pair[1 - axis]], dim=1)).mean())

    means = [mean(size) for size in (0.1, 0.5, 1.0, 2.0, 3.0)]
    assert means == sorted(means) and means[-1] > means[0] + 0.05


@pytest.mark.parametrize("density", [0.5, 0.1])
def test_they_prune_networks_that_they_have_never_seen(predictor, mlp, conv_net, batches, density):
    for model in (mlp, conv_net):
        mask = prune(model, predictor, batches, density=density)
        assert mask.kept == round(density * mask.total)


@pytest.mark.parametrize("network", ["mlp", "conv_net"])
def test_they_foresee_survivors_better_than_chance(predictor, network, images, batches, request):
    """IRP of a network that is none of their sources; by chance a tenth of the survivors is met."""
    model = request.getfixturevalue(network)
    recipe = TrainConfig(epochs=4, batch_size=25, optimizer="adam", lr=0.01, schedule="cosine")
    *_, last = irp(
        model,
        (0.5, 0.2, 0.1),
        train=lambda model, mask: fit(
            model, images, recipe, seed=0, mask=mask, hardware=Hardware(accelerator="cpu")
        ),
        criterion=CRITERIA["magnitude"],
        batches=batches,
    )
    survivors = last.mask
    foreseen = prune(model, predictor, batches, density=0.1)
    met = sum(int((keep & foreseen.keep[name]).sum()) for name, keep in survivors.keep.items())
    assert met > 3 * 0.1 * survivors.kept
