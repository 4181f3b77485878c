"""Settings of any kind are valid or refused in a line, and work with valid ones comes to an end."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from fuzzing import REFUSED, altered, attempt, cases, damage, damaged
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autos import TrainConfig
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
