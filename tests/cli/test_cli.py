"""The command `autos` as a user meets it: what it prints, what it writes, how it fails."""

import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
import safetensors.torch
import torch
from rich.console import Console
from safetensors.torch import save_file

from autos.cli import display
from autos.cli.app import main
from autos.grid.checks import Check
from autos.images.datasets import DATASETS
from autos.images.loaders import ScoringConfig
from autos.masks.mask import Mask
from autos.methods import METHODS
from autos.methods.criteria import CRITERIA
from autos.network.initialize import initialize
from autos.predictors import PREDICTORS
from autos.predictors.autos import AutoS
from autos.predictors.backbones import BACKBONES
from autos.predictors.paper import PaperPredictor
from autos.pruning import prune
from autos.storage.files import file_digest
from models import ARCHITECTURES

AUTOS = Path(sys.executable).parent / "autos"

USER_CODE = """
import torch
from torch import nn

print("code of the user may print")

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 3))

def with_table():
    model = network()  # It has 804 prunable weights.
    model.register_module("table", nn.Sequential(nn.Embedding(804, 1)))
    model.table.forward = lambda x: x + 0 * model.table[0].weight.sum()
    return model

def batches():
    g = torch.Generator().manual_seed(5)
    return [(torch.randn(4, 64, generator=g), torch.randint(3, (4,), generator=g)) for _ in "ab"]

def squares(output, batch):
    return output.square().mean()

def vector(output, batch):
    return output

def broken():
    raise RuntimeError("of two\\nlines")

wrong = [torch.zeros(3)]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current directory, but for a module of the user."""
    (tmp_path / "user_code.py").write_text(USER_CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "user_code", raising=False)
    return tmp_path


@pytest.fixture
def autos(capsys):
    """Runs the command in this process; returns exit code, stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def predictor(tmp_path_factory):
    """A folder of saved predictors that were never trained."""
    folder = tmp_path_factory.mktemp("predictor")
    torch.manual_seed(0)
    about = {"backbone": "mlp", "inputs": ["weight", "gradient"], "training": {"epochs": 0}}
    about["sources"] = {"a_net": {"architecture": "lenet_5", "images": "tiny", "rounds": 20}}
    PaperPredictor.compiled(BACKBONES["mlp"](2), about).save(folder)
    coefficients = {"path": 1.0, "unit": -0.5, "step": 0.2, "growth": 0.1}
    AutoS({"coefficients": coefficients, "sources": about["sources"]}).save(folder)
    return folder


BASIC = ("prune", "--model", "user_code:network", "--data", "user_code:batches", "--density", 0.1)
SNIP = (*BASIC, "--out", "mask.safetensors", "--method", "snip")


def arguments(**changes):
    """Those of a prune that works, with some changed, added, or (None) left out."""
    options = {
        "model": "user_code:network",
        "data": "user_code:batches",
        "density": 0.1,
        "out": "mask.safetensors",
        "method": "snip",
        **changes,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return ["prune", *(x for n, v in given.items() for x in (f"--{n.replace('_', '-')}", v))]


# --- prune ---


def test_the_mask_is_that_of_the_library(autos, image_store, images):
    code, out, _ = autos(
        *arguments(model="lenet_300_100", data=image_store, per_class=5, batch_size=6, seed=3),
        "--json",
    )
    assert code == 0
    model = ARCHITECTURES["lenet_300_100"](num_classes=3, in_channels=1, image_size=8, width=1.0)
    scoring = ScoringConfig(per_class=5, batch_size=6, batch_norm="train")
    batches = scoring.batches(images, seed=3)
    want = prune(initialize(model, 3), CRITERIA["snip"], batches, density=0.1, seed=3)
    mask, about = Mask.load("mask.safetensors")
    assert list(mask.keep) == list(want.keep)
    assert all(torch.equal(mask.keep[name], want.keep[name]) for name in want.keep)
    facts = json.loads(out)
    assert facts["about"] == about
    assert facts["layers"] == [
        {
            "name": name,
            "shape": list(keep.shape),
            "weights": keep.numel(),
            "kept": int(keep.sum()),
            "density": int(keep.sum()) / keep.numel(),
        }
        for name, keep in want.keep.items()
    ]
    assert (facts["kept"], facts["weights"]) == (want.kept, want.total)
    assert facts["file"] == "mask.safetensors" and facts["seconds"] >= 0


def test_the_description_tells_all_that_went_in(autos, image_store, predictor):
    state = {k: torch.ones_like(v) for k, v in lenet().state_dict().items()}
    save_file(state, "w.safetensors")
    assert autos(
        *arguments(
            model="lenet_5",
            data=image_store,
            method=None,
            predictor=predictor,
            weights="w.safetensors",
            loss="user_code:squares",
            mode="eval",
            seed=7,
            density=0.25,
        )
    )[0] == 0  # fmt: skip
    about = Mask.load("mask.safetensors")[1]
    assert len(about["data"].pop("sha256")) == 64
    assert about == {
        "model": "lenet_5",
        "weights": {"name": "w.safetensors", "sha256": file_digest(Path("w.safetensors"))},
        "data": {"name": str(image_store), "per_class": 10},
        "method": "autos",
        "predictor": {"name": str(predictor), "sha256": AutoS.digest(predictor)},
        "loss": "user_code:squares",
        "mode": "eval",
        "density": 0.25,
        "coverage": 1.0,
        "seed": 7,
        "autos": version("autos"),
    }


def lenet():
    return ARCHITECTURES["lenet_5"](num_classes=3, in_channels=1, image_size=8, width=1.0)


@pytest.mark.parametrize("method", PREDICTORS)
def test_a_predictor_scores_as_in_the_library(autos, predictor, method):
    assert autos(*arguments(method=method, predictor=predictor, density=0.3))[0] == 0
    import user_code

    torch.manual_seed(0)
    model, batches = user_code.network(), user_code.batches()
    want = prune(model, PREDICTORS[method].load(predictor), batches, density=0.3)
    mask, _ = Mask.load("mask.safetensors")
    assert all(torch.equal(mask.keep[name], want.keep[name]) for name in want.keep)


def test_the_default_predictor_is_the_one_of_the_package(autos, predictor, monkeypatch):
    monkeypatch.setattr("autos.cli.prune.SHIPPED", predictor)
    assert autos(*arguments(method=None))[0] == 0
    about = Mask.load("mask.safetensors")[1]
    assert about["method"] == "autos"
    assert about["predictor"] == {"name": "shipped", "sha256": AutoS.digest(predictor)}


def test_the_same_command_writes_the_same_bytes(autos):
    def written(**options):
        assert autos(*arguments(**options))[0] == 0
        return Path("mask.safetensors").read_bytes()

    first = written(seed=1)
    assert written(seed=1) == first
    one, two = (Mask.load(f"{seed}.safetensors")[0].keep if autos(*arguments(
        seed=seed, out=f"{seed}.safetensors"))[0] == 0 else None for seed in (1, 2))  # fmt: skip
    assert not torch.equal(one["1.weight"], two["1.weight"])


def test_the_loss_counts(autos):
    def kept(**options):
        assert autos(*arguments(**options))[0] == 0
        return Mask.load("mask.safetensors")[0].keep["1.weight"]

    assert not torch.equal(kept(), kept(loss="user_code:squares"))


def test_mode_sets_batch_norm_and_dropout(autos, folder):
    (folder / "user_code.py").write_text(
        USER_CODE.replace("nn.ReLU()", "nn.ReLU(), nn.Dropout(0.9)")
    )

    def kept(**options):
        assert autos(*arguments(**options))[0] == 0
        return Mask.load("mask.safetensors")[0].keep["1.weight"]

    assert not torch.equal(kept(), kept(mode="eval"))
    assert torch.equal(kept(), kept(mode="train"))


def test_the_table_has_every_layer_and_the_totals(autos):
    code, out, err = autos(*SNIP)
    assert (code, err) == (0, "code of the user may print\n")
    assert out.startswith("mask.safetensors: a mask that keeps 80 of 804 weights (9.95 %)\n")
    mask, _ = Mask.load("mask.safetensors")
    for name, shape in {"1.weight": "12 x 64", "3.weight": "3 x 12"}.items():
        (row,) = [line for line in out.splitlines() if line.strip().startswith(name)]
        keep = mask.keep[name]
        density = f"{100 * int(keep.sum()) / keep.numel():.2f}"
        counts = [str(keep.numel()), str(int(keep.sum())), density, "%"]
        assert row.split() == [name, *shape.split(), *counts]
    assert ["total", "804", "80", "9.95", "%"] in [line.split() for line in out.splitlines()]
    for name, value in {"model": "user_code:network", "method": "snip", "seed": "0"}.items():
        assert any(line.split() == [name, value] for line in out.splitlines())
    assert "scored in" in out and "noise" not in out


def test_long_names_are_whole_when_the_output_is_no_terminal(autos, folder):
    name = "a_layer_with_a_name_" + "x" * 200
    (folder / "long.py").write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        f"def net(): return nn.Sequential(OrderedDict({name}=nn.Linear(64, 3)))"
    )
    assert f"{name}.weight" in autos(*arguments(model="long:net"))[1]


def test_weights_are_left_out_by_the_patterns_that_are_given(autos):
    """The network has 12 * 64 and 3 * 12 weights."""
    assert autos(*arguments(exclude="3"))[0] == 0
    mask, about = Mask.load("mask.safetensors")
    assert list(mask.keep) == ["1.weight"] and mask.kept == 77
    assert about["exclude"] == ["3"] and about["coverage"] == round(768 / 804, 4)
    code, _, err = autos(*arguments(include="fourth"))
    assert code == 2 and "include: 'fourth' means no weight of the model" in err


def test_noise_is_marked_as_such(autos):
    code, out, _ = autos(*arguments(data="random", shape="64", batch_size=5))
    assert code == 0 and "Scored on noise, not on data" in out
    about = Mask.load("mask.safetensors")[1]
    assert about["data"] == {"name": "random", "noise": True, "shape": [64], "samples": 5}
    assert "Scored on noise, not on data" in autos("inspect", "mask.safetensors")[1]
    assert json.loads(autos(*arguments(data="random"), "--json")[1])["noise"] is True
    assert json.loads(autos(*SNIP, "--json")[1])["noise"] is False


def test_weights_that_stay_whole_are_named_and_their_share_is_in_the_description(autos):
    code, out, err = autos(*arguments(model="user_code:with_table"), "--json")
    assert code == 0 and json.loads(out)["about"]["coverage"] == 0.5
    assert "warning: the mask covers 50.0 % of the network's weights: table.0.weight stay" in err
    assert re.search(r"coverage +0\.5\b", autos("inspect", "mask.safetensors")[1])


@pytest.mark.filterwarnings("default::autos.pruning.EmptyLayerWarning")
def test_layers_without_weights_are_named(autos):
    code, out, err = autos(*arguments(density=0.003, method="magnitude"), "--json")
    facts = json.loads(out)
    assert code == 0 and facts["kept"] == 2
    empty = [layer["name"] for layer in facts["layers"] if layer["kept"] == 0]
    assert facts["empty_layers"] == empty != []
    assert f"warning: density 0.003 keeps nothing in {empty[0]}" in err


def test_json_is_one_object_and_nothing_else(autos, predictor):
    for command in (
        SNIP,
        ("list",),
        ("inspect", "mask.safetensors"),
        ("inspect", predictor),
    ):
        code, out, _ = autos(*command, "--json")
        assert code == 0 and out.count("\n") == 1
        assert isinstance(json.loads(out), dict)


# --- methods that have settings, and those that train ---

RECIPE = "{epochs: 2, batch_size: 5, optimizer: sgd, lr: 0.1, schedule: cosine}"


def test_a_setting_is_that_of_the_library(autos, image_store, images):
    common = {"model": "lenet_300_100", "data": image_store, "per_class": 5, "method": "synflow"}
    assert autos(*arguments(**common), "--set", "rounds=1")[0] == 0
    one, about = Mask.load("mask.safetensors")
    assert about["settings"] == {"rounds": 1}
    assert autos(*arguments(**common))[0] == 0
    hundred, _ = Mask.load("mask.safetensors")
    assert any(not torch.equal(one.keep[name], hundred.keep[name]) for name in one.keep)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rounds", "--set rounds: must be NAME=VALUE"),
        ("=3", "--set =3: must be NAME=VALUE"),
        ("rounds=0", "--set.rounds: Input should be greater than 0, got 0"),
        ("rounds=many", "--set.rounds: Input should be a valid integer"),
        ("round=3", "--set.round: Extra inputs are not permitted"),
        ("rounds={", "--set rounds={: not valid YAML"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(autos, setting, message):
    code, out, err = autos(*arguments(method="synflow"), "--set", setting)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}") and err.count("\n") == 1
    assert not Path("mask.safetensors").exists()


def test_a_method_that_trains_needs_a_recipe_and_leaves_weights_to_go_on_from(autos, image_store):
    command = arguments(model="lenet_300_100", data=image_store, method="rigl", per_class=20)
    code, _, err = autos(*command)
    assert code == 2 and err == "error: --method rigl trains: give --recipe FILE\n"
    Path("recipe.yaml").write_text(RECIPE)
    code, out, err = autos(*command, "--recipe", "recipe.yaml", "--json")
    assert code == 0, err
    facts = json.loads(out)
    mask, about = Mask.load("mask.safetensors")
    assert about["recipe"]["epochs"] == 2 and mask.kept == round(0.1 * mask.total)
    assert facts["trained"] and facts["weights_file"] == "mask-weights.safetensors"
    trained = safetensors.torch.load_file("mask-weights.safetensors")
    for name, keep in mask.keep.items():
        assert not trained[name][~keep].any() and trained[name][keep].any()
    # The weights are a model's: the command takes them again.
    again = arguments(model="lenet_300_100", data=image_store, weights="mask-weights.safetensors")
    assert autos(*again)[0] == 0


def test_a_recipe_that_is_none_is_told_in_one_line(autos, image_store):
    command = arguments(model="lenet_300_100", data=image_store, method="rigl")
    code, _, err = autos(*command, "--recipe", "none.yaml")
    assert (code, err) == (2, "error: none.yaml: not found\n")


# --- list and inspect ---


def test_list_names_every_registry_entry_with_a_line(autos, folder, image_store):
    (folder / "data/images").mkdir(parents=True)
    (folder / "data/images/mine.zarr").symlink_to(image_store)
    listed = json.loads(autos("list", "--json")[1])
    assert list(listed["methods"]) == list(METHODS)
    assert set(listed["checks"]) == set(get_args(Check))
    assert all(autos("analyse", name, "--help")[0] == 0 for name in listed["analyses"])
    assert {"mode-connectivity", "gradients", "overlap", "concordance"} <= set(listed["analyses"])
    assert list(listed["architectures"]) == list(ARCHITECTURES)
    assert list(listed["image sets"]) == list(DATASETS)
    assert listed["prepared"] == {"mine": "data/images/mine.zarr"}
    assert listed["methods"]["synflow"] == {
        "kind": "score",
        "paper": "Tanaka et al., NeurIPS",
        "year": 2020,
        "data": "none",
        "cost": "100 passes of 1 sample",
        "settings": {"rounds": 100},
        "about": "SynFlow (Tanaka et al., NeurIPS 2020, eq. 4): w * dR/dw with R = 1' |W_L| ... "
        "|W_1| 1.",
    }
    assert all(line for section in listed.values() for line in section.values())
    words = autos("list")[1].split()
    assert all(name in words for section in listed.values() for name in section)


@pytest.mark.parametrize("name", METHODS)
def test_list_tells_of_every_method_what_it_is_and_costs(autos, name):
    method = METHODS[name]
    assert method.kind in ("score", "iterative", "search", "dynamic")
    assert method.data in ("none", "scoring", "training")
    assert method.cost
    assert bool(method.paper) == (method.year is not None)
    assert method.paper or name in ("random", "uniform")
    assert "et al" not in method.cost and len(method.cost) < 60
    assert not method.paper or str(method.year) not in method.paper


def test_a_prepared_store_has_a_name(autos, folder, image_store):
    (folder / "data/images").mkdir(parents=True)
    (folder / "data/images/mine.zarr").symlink_to(image_store)
    assert autos(*arguments(model="lenet_5", data="mine"))[0] == 0
    one = Mask.load("mask.safetensors")[0].keep
    assert autos(*arguments(model="lenet_5", data=image_store))[0] == 0
    two = Mask.load("mask.safetensors")[0].keep
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_inspect_tells_what_prune_told(autos):
    pruned = json.loads(autos(*SNIP, "--json")[1])
    seconds = pruned.pop("seconds")
    assert json.loads(autos("inspect", "mask.safetensors", "--json")[1]) == pruned
    told = autos(*SNIP)[1].split("\nscored in")[0]
    assert seconds >= 0 and autos("inspect", "mask.safetensors")[1].strip() == told.strip()


# --- errors: one line, exit code 2, nothing written ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "lenet5"}, "unknown architecture 'lenet5'; did you mean 'lenet_5'"),
        ({"model": "torchvision:resnet51"}, "unknown torchvision model 'resnet51'; did you mean"),
        ({"model": "nowhere:net"}, "nowhere:net: ModuleNotFoundError: No module named 'nowhere'"),
        ({"model": "user_code:nett"}, "user_code:nett: there is no 'nett' in "),
        ({"model": "user_code:broken"}, "user_code:broken: RuntimeError: of two lines"),
        ({"model": "user_code:batches"}, "user_code:batches: returns list, not a torch.nn.Module"),
        ({"model": "hf:nowhere"}, "hf:nowhere: no config.json there"),
        ({"data": "rnadom"}, "unknown data 'rnadom'; did you mean 'random'?"),
        ({"data": "user_code:nothing"}, "user_code:nothing: there is no 'nothing' in "),
        ({"data": "user_code:broken"}, "user_code:broken: RuntimeError: of two lines"),
        ({"data": "user_code:wrong"}, "a batch is [3]; expected (inputs, labels)"),
        ({"data": "random", "shape": "63"}, "(a sample has shape 63; --shape gives another)"),
        ({"data": "random", "shape": "3,x"}, "--shape 3,x: must be sizes with commas"),
        ({"shape": "64"}, "--shape is of --data random only"),
        ({"density": 0}, "--density 0: must be above 0 and at most 1"),
        ({"density": 5}, "--density 5: must be above 0 and at most 1"),
        ({"density": "a"}, "Invalid value for '--density'"),
        ({"density": None}, "Missing option '--density'; see `autos prune --help`"),
        ({"density": 0.0001}, "density 0.0001 keeps 0 of 804 weights"),
        ({"method": "snipp"}, "unknown method 'snipp'; did you mean 'snip'"),
        ({"predictor": "x"}, "--predictor goes with --method autos or autos_paper only"),
        ({"method": None, "predictor": "nowhere"}, "nowhere/autos.json: not found"),
        ({"loss": "user_code"}, "'user_code' is not of the form package.module:name"),
        ({"loss": "user_code:vector"}, "loss"),
        ({"loss": "user_code:wrong"}, "the loss list is no function whose arguments can be seen"),
        ({"weights": "no.safetensors"}, "no.safetensors: not found"),
        ({"weights": "user_code.py"}, "weights user_code.py: cannot be read: "),
        ({"out": "mask"}, "--out mask: must be a file with the ending .safetensors"),
        ({"out": "user_code.py/m.safetensors"}, "cannot be written"),
        ({"out": "/proc/x/m.safetensors"}, "cannot be written"),
        ({"seed": -1}, "Invalid value for '--seed'"),
        ({"mode": "trian"}, "Invalid value for '--mode'"),
        ({"per_class": 0}, "Invalid value for '--per-class'"),
        ({"bach_size": 2}, "No such option: --bach-size"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_mistake_ends_in_one_line(autos, folder, changes, said, form):
    code, out, err = autos(*arguments(**changes), *form)
    assert (code, out) == (2, "")
    *printed, line = err.splitlines()
    assert line.startswith("error: ") and said in line
    assert printed in ([], ["code of the user may print"])
    assert {p.name for p in folder.iterdir()} <= {"user_code.py", "__pycache__"}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["inspect", "nowhere"], "nowhere: not found"),
        (["inspect", "user_code.py"], "user_code.py: is neither a mask (.safetensors), nor"),
        (["inspect", "."], ".: is neither a mask (.safetensors), nor"),
        (["inspect"], "Missing argument 'FILE'; see `autos inspect --help`"),
        (["prun"], "No such command 'prun'"),
    ],
)
def test_other_mistakes_end_in_one_line_too(autos, command, said):
    code, out, err = autos(*command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ") and said in err


def test_weights_of_another_model_are_refused(autos, folder):
    autos(*SNIP)
    code, _, err = autos(*arguments(weights="mask.safetensors", out="new.safetensors"))
    assert code == 2 and not Path("new.safetensors").exists()
    assert "weights mask.safetensors do not fit Sequential: 1.bias is absent there" in err


def test_a_bad_place_is_refused_before_anything_is_computed(autos):
    _, _, err = autos(*arguments(out="user_code.py/m.safetensors", model="user_code:broken"))
    assert "cannot be written" in err


def test_a_mask_that_exists_is_kept_until_the_new_one_is_whole(autos, monkeypatch):
    autos(*SNIP)
    before = Path("mask.safetensors").read_bytes()
    assert autos(*arguments(loss="user_code:vector"))[0] == 2
    assert Path("mask.safetensors").read_bytes() == before


def test_a_full_disk_and_a_bug_are_told_apart(autos, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "mask.safetensors")

    monkeypatch.setattr("autos.storage.tensors.write_tensors", full)
    monkeypatch.setattr("autos.masks.mask.write_tensors", full)
    code, _, err = autos(*SNIP)
    assert code == 2
    assert err.splitlines()[-1] == "error: mask.safetensors: No space left on device"

    def bug(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("autos.masks.mask.write_tensors", bug)
    with pytest.raises(ZeroDivisionError):
        autos(*SNIP)


# --- the installed command ---


def command(*arguments, **options):
    return subprocess.run([AUTOS, *map(str, arguments)], capture_output=True, text=True, **options)


def test_the_installed_command_finds_modules_of_the_current_directory(folder):
    done = command(*SNIP, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kept"] == Mask.load(folder / "mask.safetensors")[0].kept == 80
    assert done.stderr == "code of the user may print\n", "no bar, as this is no terminal"


@pytest.mark.parametrize("name", ["timm", "transformers"])
def test_a_library_that_is_absent_is_named(folder, name):
    """In a process in which importing it fails."""
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{name!r}] = None\n")
    model = {"timm": "timm:convnext_atto", "transformers": "hf:here"}[name]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = command(*arguments(model=model), cwd=folder, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"error: {name} is not installed: pip install 'autos[{name}]'"
    )


def test_ctrl_c_ends_in_one_line(folder):
    (folder / "slow.py").write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs of a shell ignore it\n"
        "def network(): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = command(*arguments(model="slow:network"), cwd=folder)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "error: interrupted; nothing is written"
    assert not (folder / "mask.safetensors").exists()


def test_a_reader_that_leaves_early_is_no_error(folder):
    done = subprocess.run(
        ["bash", "-c", f"'{AUTOS}' list | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode in (0, 1) and done.stderr == ""


def test_help_is_quick_and_needs_no_torch():
    code = (
        "import sys\nfrom autos.cli.app import main\n"
        "try: main(['prune', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'rich.table') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n"), done.stdout[-200:]


@pytest.mark.parametrize("name", ["prune", "list", "inspect"])
def test_help_describes_every_option_within_100_columns(autos, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = autos(name, "--help")
    assert code == 0 and "completion" not in out
    assert max(map(len, out.splitlines())) <= 100
    options = out.split("Options:\n")[1]
    for line in options.splitlines():
        if line.startswith("  --"):
            assert len(line.split()) > 1, f"{line} is not described"
    assert name in autos("--help")[1] == autos()[1]


# --- the bar ---


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_counts_batches_and_passes_and_gives_the_batches_unchanged(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(
        display, "Console", lambda stderr: Console(file=shown, force_terminal=True, width=100)
    )
    with display.progress(["a", "b", "c"]) as batches:
        assert [list(batches), list(batches)] == [["a", "b", "c"]] * 2
    assert "scoring, pass 2" in shown.getvalue() and "3/3" in shown.getvalue()


def test_without_a_terminal_there_is_no_bar(capsys):
    with display.progress(iter("ab")) as batches:
        assert list(batches) == ["a", "b"]
    assert capsys.readouterr() == ("", "")
