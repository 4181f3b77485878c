"""What `autos inspect` finds in a mask, a predictor and a surviving-score store."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from autos.cli import display
from autos.cli.inspection import inspect
from autos.errors import UserError
from autos.irp.survival import Survival, write_survival
from autos.masks.bits import Bits
from autos.masks.mask import Mask
from autos.predictors.autos import AutoS
from autos.predictors.backbones import BACKBONES
from autos.predictors.paper import PaperPredictor


@pytest.fixture
def mask(tmp_path):
    keep = {"a.weight": torch.eye(4).bool(), "b.weight": torch.zeros(2, 3, 5).bool()}
    settings = {"network": {"architecture": "lenet_5"}, "sizes": [3, 4]}
    about = {"settings": settings, "kept": 4, "layer_densities": {"a.weight": 0.25}}
    Mask(Bits(keep)).save(tmp_path / "m.safetensors", about)
    return tmp_path / "m.safetensors", about


@pytest.fixture
def predictor(tmp_path):
    source = {"architecture": "lenet_5", "width": 0.5, "images": "tiny", "criterion": "snip",
              "rounds": 20, "final_density": 0.01}  # fmt: skip
    about = {"backbone": "mlp", "inputs": ["weight"], "sources": {"small": source}}
    PaperPredictor.compiled(BACKBONES["mlp"](1), about).save(tmp_path / "p")
    AutoS({"coefficients": {"path": 1.5}, "sources": about["sources"]}).save(tmp_path / "p")
    return tmp_path / "p"


@pytest.fixture
def store(tmp_path):
    """A network of two layers after 2 rounds: of 6 weights 3, of 4 weights 1 survived both."""
    values = np.arange(10, dtype=np.float32)
    about = {
        "source": {"architecture": "lenet_5", "train": {"lr": 0.1}},
        "layers": [
            {"name": "one", "offset": 0, "shape": [2, 3]},
            {"name": "two", "offset": 6, "shape": [4]},
        ],
        "densities": [0.7, 0.4],
        "rounds": [{}, {}],
    }
    survived = np.array([2, 2, 1, 0, 0, 2, 1, 2, 0, 1], np.uint16)
    write_survival(
        tmp_path / "s.zarr",
        {"net": Survival(values, values, np.zeros((len(values), 4), np.float32), survived, about)},
    )
    return tmp_path / "s.zarr"


def test_a_mask(mask):
    path, about = mask
    assert inspect(path) == {
        "file": str(path),
        "kind": "mask",
        "noise": False,
        "weights": 46,
        "kept": 4,
        "density": 4 / 46,
        "empty_layers": ["b.weight"],
        "layers": [
            {"name": "a.weight", "shape": [4, 4], "weights": 16, "kept": 4, "density": 0.25},
            {"name": "b.weight", "shape": [2, 3, 5], "weights": 30, "kept": 0, "density": 0.0},
        ],
        "about": about,
    }


def test_a_surviving_score_store_keeps_what_survived_all_rounds(store):
    facts = inspect(store)
    assert (facts["file"], facts["kind"]) == (str(store), "surviving scores")
    assert facts["networks"] == {
        "net": {
            "rounds": 2,
            "weights": 10,
            "kept": 4,
            "density": 0.4,
            "layers": [
                {"name": "one", "shape": [2, 3], "weights": 6, "kept": 3, "density": 0.5},
                {"name": "two", "shape": [4], "weights": 4, "kept": 1, "density": 0.25},
            ],
            "about": {"architecture": "lenet_5", "train": {"lr": 0.1}},
        }
    }


@pytest.mark.parametrize("part", ["", "autos.json", "autos_paper.json", "autos_paper.safetensors"])
def test_predictors_by_their_folder_or_a_file_in_it(predictor, part):
    paper = PaperPredictor.load(predictor).about
    sources = paper.pop("sources")
    assert inspect(predictor / part) == {
        "file": str(predictor),
        "kind": "predictors",
        "sources": sources,
        "about": {
            "autos": {"sha256": AutoS.digest(predictor), "coefficients": {"path": 1.5}},
            "autos_paper": {"sha256": PaperPredictor.digest(predictor), **paper},
        },
    }


def test_predictors_that_do_not_tell_their_sources(predictor):
    AutoS({"coefficients": {}}).save(predictor)
    PaperPredictor.compiled(BACKBONES["mlp"](1), {"backbone": "mlp", "inputs": ["weight"]}).save(
        predictor
    )
    assert inspect(predictor)["sources"] == {}


def test_all_facts_are_json(mask, predictor, store):
    for path in (mask[0], predictor, store):
        assert json.loads(json.dumps(inspect(path))) == inspect(path)


def shown(path, capsys):
    display.show(inspect(path))
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_tables_show_it(mask, predictor, store, capsys):
    lines = shown(mask[0], capsys)
    assert ["a.weight", "4", "x", "4", "16", "4", "25.00", "%"] in lines
    assert ["b.weight", "2", "x", "3", "x", "5", "30", "0", "0.00", "%"] in lines
    assert ["total", "46", "4", "8.70", "%"] in lines
    assert ["settings.network.architecture", "lenet_5"] in lines
    assert ["settings.sizes", "3,", "4"] in lines
    assert not any(line and line[0].startswith("layer_densities") for line in lines)

    lines = shown(predictor, capsys)
    assert ["small", "lenet_5", "0.5", "tiny", "snip", "20", "0.01"] in lines
    assert ["autos.coefficients.path", "1.5"] in lines
    assert ["autos_paper.backbone", "mlp"] in lines

    lines = shown(store, capsys)
    assert ["net:", "4", "of", "10", "weights", "(40.00", "%)", "survived", "2", "rounds"] in lines
    assert ["two", "4", "4", "1", "25.00", "%"] in lines
    assert ["train.lr", "0.1"] in lines


def test_on_a_narrow_terminal_nothing_is_cut(predictor, monkeypatch):
    shown = io.StringIO()
    narrow = Console(file=shown, force_terminal=True, width=50, color_system=None)
    monkeypatch.setattr(display, "_console", lambda: narrow)
    display.show({**inspect(predictor), "about": {"sha256": "0123456789abcdef" * 4}})
    assert "…" not in shown.getvalue()
    assert "".join(shown.getvalue().split()).count("0123456789abcdef") == 4


def test_what_it_is_not_made_for_is_refused(mask, store, image_store, tmp_path):
    (tmp_path / "notes.txt").write_text("my work")
    (tmp_path / "broken.safetensors").write_bytes(mask[0].read_bytes()[:-1])
    for path, message in {
        tmp_path / "nowhere": "nowhere: not found",
        tmp_path / "notes.txt": "notes.txt: is neither a mask",
        tmp_path: "is neither a mask",
        tmp_path / "broken.safetensors": "broken.safetensors: damaged",
        image_store: "is not a surviving-score dataset but image set",
    }.items():
        with pytest.raises(UserError, match=message):
            inspect(path)


@pytest.mark.parametrize("data", [None, 5, "noise", ["noise"], [], True])
def test_a_description_of_the_users_own_may_say_anything(tmp_path, data):
    Mask({"w": torch.ones(2, dtype=torch.bool)}).save(tmp_path / "a.safetensors", {"data": data})
    facts = inspect(tmp_path / "a.safetensors")
    assert facts["noise"] is False and facts["about"] == {"data": data}
