"""Settings of any kind are valid or refused in a line, and work with valid ones comes to an end."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from fuzzing import REFUSED, VALUES, altered, attempt, cases, damage, damaged
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autos import METHODS, TrainConfig, prune
from autos.cli.files import read_recipe
from autos.compute import Compute
from autos.config import Config
from autos.grid.finetune import FinetuneConfig
from autos.grid.masks import PruneConfig
from autos.predictors.config import PredictorsConfig
from stages._params import section
from stages.evaluate import EvaluateConfig
from stages.irp import IRPConfig
from stages.prepare import PrepareConfig

ROOT = Path(__file__).parents[2]
SECTIONS: dict[str, type[Config]] = {
    "compute": Compute,
    "prepare": PrepareConfig,
    "irp": IRPConfig,
    "train_predictor": PredictorsConfig,
    "prune": PruneConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
}
PARAMS = json.loads(json.dumps(yaml.safe_load((ROOT / "params.yaml").read_text())))
"""The shipped settings, of which no two parts are one."""

RECIPE = {
    "epochs": 1,
    "batch_size": 4,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "schedule": "multistep",
    "milestones": [1],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("settings")


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("name", SECTIONS)
@cases(quick=4, share=0.015)
@given(data=st.data())
def test_a_section_of_other_values_is_valid_or_refused(here, name, data):
    content = data.draw(altered(PARAMS[name]))
    others = {"compute": PARAMS["compute"]} if name != "compute" else {}
    Path("params.yaml").write_text(yaml.safe_dump({**others, name: content}))
    found = attempt(section, SECTIONS[name], name)
    assert found is REFUSED or isinstance(found, SECTIONS[name])


@cases(quick=8, share=0.03)
@given(data=st.data())
def test_params_of_other_bytes_are_valid_or_refused(here, data):
    whole = (ROOT / "params.yaml").read_bytes()
    Path("params.yaml").write_bytes(damaged(whole, data.draw(damage(len(whole)))))
    name = data.draw(st.sampled_from(list(SECTIONS)))
    found = attempt(section, SECTIONS[name], name)
    assert found is REFUSED or isinstance(found, SECTIONS[name])


@cases(quick=12, share=0.05)
@given(content=altered(RECIPE))
def test_a_recipe_of_other_values_is_valid_or_refused(here, content):
    Path("recipe.yaml").write_text(yaml.safe_dump(content))
    found = attempt(read_recipe, Path("recipe.yaml"))
    if found is not REFUSED:
        network = nn.Linear(3, 2)
        optimizer = found.optimizers(network, steps=2)["optimizer"]
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()


@cases(quick=8, share=0.03)
@given(data=st.data())
def test_a_recipe_of_other_bytes_is_valid_or_refused(here, data):
    whole = yaml.safe_dump(RECIPE).encode()
    Path("recipe.yaml").write_bytes(damaged(whole, data.draw(damage(len(whole)))))
    found = attempt(read_recipe, Path("recipe.yaml"))
    assert found is REFUSED or isinstance(found, TrainConfig)


EXTREMES = [1, 2, 10**4, 10**9, 2**63, 10**30, 1e-300, 1e-9, 0.999999, 1 - 1e-16, 1e9, 1e300]

LENGTHS = {"epochs"}
"""Settings that are the length of the work, which is as long as the caller says."""


@st.composite
def hyperparameters(draw, kind):
    """Values of one or two settings of a method, on the edge of what is valid and beyond."""
    known = sorted(set(kind.model_fields) - LENGTHS)
    names = draw(st.lists(st.sampled_from(known), max_size=2, unique=True))
    return {
        name: draw(
            st.sampled_from([*get_args(kind.model_fields[name].annotation), *EXTREMES, *EXTREMES])
            | VALUES
        )
        for name in names
    }


@cases(quick=4, share=0.1)
@given(data=st.data(), density=st.sampled_from([1e-9, 0.02, 0.1, 0.5, 0.999, 1.0]))
def test_every_method_ends_with_any_settings(data, density):
    method = data.draw(st.sampled_from(list(METHODS.values())), label="method")
    settings = {}
    if set(method.settings.model_fields) - LENGTHS:
        settings = data.draw(hyperparameters(method.settings))
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    batches = [(torch.randn(4, 1, 6, 6), torch.tensor([0, 1, 2, 0]))]
    recipe = TrainConfig(epochs=2, batch_size=4, optimizer="sgd", lr=0.1, schedule="cosine")
    options = {"recipe": recipe} if method.data == "training" else {}
    mask = attempt(prune, network, method, batches, density=density, settings=settings, **options)
    assert mask is REFUSED or mask.kept == round(density * mask.total)
