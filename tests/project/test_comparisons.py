"""What `make compare` is given: settings that stages take, a document and a way to its tables."""

import pytest
import yaml

from autos.compute import Compute
from autos.grid.finetune import FinetuneConfig
from autos.grid.masks import PruneConfig
from autos.predictors.config import PredictorsConfig
from comparisons.__main__ import DOCS, FILES, changed, stages
from comparisons.tables import TABLES
from stages.irp import IRPConfig
from stages.prepare import PrepareConfig

SECTIONS = {
    "compute": Compute,
    "prepare": PrepareConfig,
    "irp": IRPConfig,
    "train_predictor": PredictorsConfig,
    "prune": PruneConfig,
    "finetune": FinetuneConfig,
}
COMPARISONS = {path.stem: yaml.safe_load(path.read_text()) for path in FILES.glob("*.yaml")}
RUNS = [(name, run) for name, params in COMPARISONS.items() for run in params["runs"]]


def test_every_comparison_has_a_table_and_a_document():
    assert set(TABLES) == set(COMPARISONS)
    for name in TABLES:
        (document,) = DOCS.rglob(f"{name}.md")
        assert "<!-- tables -->" in document.read_text()
        assert f"make compare NAME={name}" in document.read_text()


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_every_run_has_settings_that_its_stages_take(name, run):
    params = dict(COMPARISONS[name])
    params = changed(params, params.pop("runs")[run])
    assert set(params) == {"compute", *stages(params)}
    sections = {
        section: kind.validated(params[section], section)
        for section, kind in SECTIONS.items()
        if section in params
    }
    targets = sections["prune"].targets
    assert set(sections["finetune"].recipes) == set(targets)
    used = {target.images for target in targets.values()}
    assert used <= set(sections["prepare"].images)
