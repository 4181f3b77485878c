"""Shipped params files are valid; mistakes in one are told in a line that names the key."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from autos.compute import Compute, Hardware
from autos.config import Config
from autos.errors import SettingError, UserError, unknown
from autos.grid.cell import Cell, MaskRow, MaskTable
from autos.grid.checks import checked_mask
from autos.grid.finetune import FinetuneConfig
from autos.grid.masks import Inputs, PruneConfig, TargetConfig, Variant
from autos.methods import METHODS
from autos.network.spec import NetworkConfig
from autos.predictors import PREDICTORS
from autos.predictors.config import PredictorsConfig
from autos.storage.files import replacing
from autos.work.units import Unit
from stages._params import section
from stages._program import WORKERS_IMPORT, problem
from stages.evaluate import EvaluateConfig
from stages.irp import IRPConfig
from stages.prepare import PrepareConfig

ROOT = Path(__file__).parents[2]
SOURCE = "irp.sources.lenet_300_100"
TRAIN = f"{SOURCE}.train"
RECIPE = "finetune.recipes.lenet_5"
SECTIONS: dict[str, type[Config]] = {
    "compute": Compute,
    "prepare": PrepareConfig,
    "irp": IRPConfig,
    "train_predictor": PredictorsConfig,
    "prune": PruneConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
}
FILES = [ROOT / "params.yaml", *sorted(ROOT.glob("profiles/*.yaml"))]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@functools.cache
def shipped() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def load(key: str, value: Any) -> Any:
    """Load the section of a dotted key from the shipped file with another value there.

    The value is YAML if it is a string; None removes the key.
    """
    params = json.loads(json.dumps(shipped()))  # a copy in which no two sections are one
    *parts, last = key.split(".")
    place = params
    for part in parts:
        place = place[int(part) if part.isdigit() else part]
    if value is None:
        del place[last]
    else:
        value = yaml.safe_load(value) if isinstance(value, str) else value
        place[int(last) if last.isdigit() else last] = value
    name = key.split(".")[0]
    others = {"compute": params["compute"]} if name != "compute" else {}
    Path("params.yaml").write_text(
        yaml.safe_dump({n: v for n, v in params.items() if n == name} | others)
    )
    return section(SECTIONS[name], name)


def mistake(key: str, value: Any) -> str:
    """The one line that the user sees, after the name of the file."""
    with pytest.raises(UserError) as error:
        load(key, value)
    line = problem(error.value)
    assert "\n" not in line and line.startswith("params.yaml: ")
    return line.removeprefix("params.yaml: ")


# --- names ---


@pytest.mark.parametrize(
    ("key", "name", "kind", "nearest"),
    [
        ("prune.methods.1", "snipp", "method 'snipp'", "snip"),
        ("prune.methods.1", "auto", "method 'auto'", "autos"),
        ("prune.methods.1", "GraSP", "method 'GraSP'", None),
        (f"{SOURCE}.criterion", "magnitud", "IRP criterion 'magnitud'", "magnitude"),
        (f"{SOURCE}.architecture", "lenet300_100", "architecture", "lenet_300_100"),
        ("prune.targets.resnet_20.architecture", "resnet20", "architecture", "resnet_20"),
        (f"{SOURCE}.schedule", "liner", "schedule 'liner'", "linear"),
        (f"{SOURCE}.schedule", "exponetial", "schedule", "exponential"),
        (f"{TRAIN}.augmentation", "crop-flip", "augmentation 'crop-flip'", "crop_flip"),
        (f"{RECIPE}.augmentation", "crop_flop", "augmentation", "crop_flip"),
        ("train_predictor.autos_paper.backbone", "resnet_18", "backbone 'resnet_18'", "resnet18"),
        ("prepare.images.fashion_mnist_sample.kind", "cifar_10", "image set", "cifar10"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_valid_one(key, name, kind, nearest):
    line = mistake(key, name)
    assert line.startswith(f"{key}: unknown {kind}")
    assert "; known: " in line or "? known: " in line
    assert (f"did you mean '{nearest}'" in line) if nearest else ("did you mean" not in line)


@pytest.mark.parametrize("key", [f"{TRAIN}.schedule", f"{RECIPE}.schedule"])
def test_an_unknown_learning_rate_schedule_is_told_with_the_valid_ones(key):
    assert mistake(key, "cosin") == (f"{key}: Input should be 'multistep' or 'cosine', got 'cosin'")


def test_all_known_names_are_listed_in_order():
    assert unknown("dog", "rex", ["waldi", "rexx", "bello"]) == (
        "unknown dog 'rex'; did you mean 'rexx'? known: bello, rexx, waldi"
    )


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a b", "..", "a:b", "-"])
def test_names_that_become_file_names_are_plain(name):
    network = {"architecture": "lenet_5", "images": "fashion_mnist_sample"}
    line = mistake("prune.targets", {name: network})
    assert line.startswith("prune.targets.") and "is no plain name: use letters" in line
    line = mistake("prune.targets.lenet_5.images", f"{name!r}")
    assert line.startswith(f"prune.targets.lenet_5.images: {name!r} is no plain name: use letters")


@pytest.mark.parametrize("name", ["lenet_5", "ResNet-20", "v1.2", "é"])
def test_plain_names_are_accepted(name):
    network = {"architecture": "lenet_5", "images": "fashion_mnist_sample"}
    assert list(load("prune.targets", {name: network}).targets) == [name]


# --- numbers ---


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", "Input should be greater than 0, got 0"),
        ("-1", "Input should be greater than 0, got -1"),
        ("1.5", "Input should be less than or equal to 1, got 1.5"),
        (".nan", "Input should be a finite number, got nan"),
        (".inf", "Input should be a finite number, got inf"),
        ("a", "Input should be a valid number, unable to parse string as a number, got 'a'"),
        ("[0.1]", "Input should be a valid number, got [0.1]"),
        ("null", "Input should be a valid number, got None"),
    ],
)
def test_a_density_that_is_none_is_refused(value, message):
    assert mistake("prune.densities.1", value) == f"prune.densities.1: {message}"


def test_densities_up_to_one_are_accepted():
    assert load("prune.densities", "[1, 0.5, 1e-3, 1.0e-4]").densities == [1, 0.5, 0.001, 0.0001]


def test_the_final_density_of_irp_must_prune():
    assert mistake(f"{SOURCE}.final_density", "1").endswith("should be less than 1, got 1")


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", ".001"])
def test_a_learning_rate_may_be_written_in_any_way(text):
    """YAML reads the first as a string."""
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text().replace("2.0e-3", text))
    assert section(IRPConfig, "irp").sources["lenet_300_100"].train.lr == 0.001


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (f"{TRAIN}.lr", "0", "greater than 0"),
        (f"{TRAIN}.lr", "fast", "valid number"),
        (f"{TRAIN}.epochs", "1.5", "valid integer"),
        (f"{TRAIN}.batch_size", "0", "greater than 0"),
        (f"{TRAIN}.weight_decay", "-0.1", "greater than or equal to 0"),
        (f"{RECIPE}.gamma", "2", "less than or equal to 1"),
        (f"{SOURCE}.rounds", "0", "greater than 0"),
        (f"{SOURCE}.width", "0", "greater than 0"),
        (f"{SOURCE}.scoring.per_class", "0", "greater than 0"),
        (f"{SOURCE}.scoring.batch_norm", "batch", "'train' or 'eval'"),
        ("train_predictor.autos_paper.holdout", "1", "less than 1"),
        ("train_predictor.autos_paper.inputs.0", "activation", "'weight' or 'gradient'"),
        ("train_predictor.autos_paper.inputs", "[]", "at least 1 item"),
        ("train_predictor.autos_paper.batch_size", "1", "greater than 1"),
        ("prune.seeds", "[]", "at least 1 item"),
        ("prune.seeds.0", "0.5", "valid integer"),
        ("prepare.images.fashion_mnist_sample.validation", "0", "greater than 0"),
        ("prepare.images", "{}", "at least 1 item"),
        ("evaluate.confidence", "95", "less than 1"),
        ("compute.precision", "64", "'32-true'"),
        (f"{SOURCE}.seed", str(2**63), "less than or equal to"),
        (f"{SOURCE}.seed", str(-(2**63)), "greater than or equal to"),
        (f"{SOURCE}.rounds", str(10**9), "less than or equal to 1000"),
        (f"{SOURCE}.repetition", str(10**15), "less than or equal to"),
        (f"{SOURCE}.scoring.per_class", str(10**12), "less than or equal to"),
        (f"{SOURCE}.width", "1e9", "less than or equal to 1000"),
        (f"{TRAIN}.lr", ".inf", "finite number"),
        (f"{TRAIN}.lr", "1e300", "less than or equal to"),
        (f"{TRAIN}.weight_decay", ".nan", "finite number"),
        (f"{TRAIN}.epochs", str(10**15), "less than or equal to"),
        ("train_predictor.autos_paper.lr", ".inf", "finite number"),
        ("train_predictor.autos_paper.seed", str(-(2**63)), "greater than or equal to"),
        ("prune.seeds.0", str(2**63), "less than or equal to"),
        ("prepare.images.fashion_mnist_sample.seed", str(2**63), "less than or equal to"),
        ("evaluate.confidence", ".nan", "finite number"),
    ],
)
def test_other_values_out_of_range_are_refused_by_name(key, value, message):
    line = mistake(key, value)
    assert line.startswith(f"{key}: ") and message in line and ", got " in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prune.methods", "[snip, random, snip]"),
        ("prune.densities", "[0.1, 0.10]"),
        ("prune.seeds", "[0, 0]"),
        ("train_predictor.autos_paper.inputs", "[weight, weight]"),
    ],
)
def test_naming_something_twice_is_refused(key, value):
    assert " twice" in mistake(key, value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (f"{TRAIN}.momentum", "0.9", "momentum and nesterov belong to optimizer 'sgd'"),
        (f"{TRAIN}.nesterov", "true", "momentum and nesterov belong to optimizer 'sgd'"),
        (f"{TRAIN}.milestones", "[1]", "milestones belong to schedule 'multistep'"),
    ],
)
def test_settings_without_effect_are_refused(key, value, message):
    assert mistake(key, value) == f"{TRAIN}: {message}"


# --- keys, sections, files ---


@pytest.mark.parametrize("name", SECTIONS)
def test_an_unknown_key_is_refused(name):
    line = mistake(f"{name}.colour", "red")
    assert line == f"{name}.colour: Extra inputs are not permitted"


@pytest.mark.parametrize(
    "key",
    [
        f"{TRAIN}.epoch",
        f"{SOURCE}.scoring.size",
        "prune.targets.lenet_5.depth",
        "prepare.images.fashion_mnist_sample.folder",
    ],
)
def test_an_unknown_key_further_down_is_refused(key):
    assert mistake(key, "1") == f"{key}: Extra inputs are not permitted"


def test_a_missing_key_is_named_and_further_mistakes_are_counted():
    assert mistake("prune.seeds", None) == "prune.seeds: Field required"
    line = mistake("prune.densities", "[0, 0.1, 2, a]")
    assert line == "prune.densities.0: Input should be greater than 0, got 0 (and 2 more)"


@pytest.mark.parametrize("name", SECTIONS)
def test_a_missing_section_is_named(name):
    assert mistake(name, None) == f"section {name!r} is missing"


def test_a_section_that_is_none_is_refused():
    assert mistake("prune", "null").startswith("prune: Input should be a valid dictionary")
    assert mistake("prune", "[1]").startswith("prune: Input should be a valid dictionary")


@pytest.mark.parametrize("content", ["", "- prune\n", "prune", "Prune: {}\n"])
def test_a_file_without_sections_is_refused(content):
    Path("params.yaml").write_text(content)
    with pytest.raises(UserError, match=r"^params\.yaml: section 'prune' is missing$"):
        section(PruneConfig, "prune")


@pytest.mark.parametrize(
    "content", [b"prune: {a: 1", b"a:\n\t- b", b"prune: 'x", b"a: \xff", b"a: \x01", b"a: *b", b"@"]
)
def test_invalid_yaml_is_told_in_one_line(content):
    Path("params.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"^params\.yaml: not valid YAML: \S.*") as error:
        section(PruneConfig, "prune")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told_with_the_cure():
    with pytest.raises(UserError, match=r"^params\.yaml: not found; run from the root"):
        section(PruneConfig, "prune")


def test_settings_cannot_be_changed():
    config = load("prune.seeds", "[0]")
    with pytest.raises(ValidationError, match="frozen"):
        config.seeds = [1]


# --- between sections ---


def test_a_target_without_recipe_is_named(image_store):
    config = load("finetune.recipes.resnet_20", None)
    cell = {"target": "resnet_20", "method": "snip", "density": 0.1, "seed": 0}
    file = {"file": "x", "sha256": "y", "start": None, "start_sha256": None, "kind": "score"}
    about = {"kept": 1, "total": 10, "layer_densities": {}, "empty_layers": []}
    row = MaskRow(**cell, **file, **about, step=0, trained=False)
    network = {"architecture": "resnet_20", "images": image_store.stem}
    table = MaskTable(targets={"resnet_20": network}, masks=[row])
    with pytest.raises(SettingError, match=r"^finetune\.recipes: .*'resnet_20'"):
        config.units(table, masks=Path("m"), images=image_store.parent, hardware=Hardware())


def test_a_variant_is_a_method_with_settings_of_its_own(image_store):
    variants = {"synflow_10": {"method": "synflow", "settings": {"rounds": 10}}}
    config = small(image_store, variants=variants, methods=["synflow", "synflow_10"])
    units = [chain[0] for chain in config.chains(inputs(image_store))]
    assert [unit.settings.settings["rounds"] for unit in units] == [100, 10]
    assert [unit.settings.method for unit in units] == ["synflow", "synflow"]
    assert [unit.name.split("/")[2] for unit in units] == ["synflow", "synflow_10"]
    assert len({unit.key for unit in units}) == 2


@pytest.mark.parametrize(
    ("variant", "line"),
    [
        ({"method": "snipp"}, r"variants.x.method: unknown method 'snipp'; did you mean 'snip'"),
        (
            {"method": "synflow", "settings": {"rounds": 0}},
            r"variants.x: settings.rounds: Input should be greater than 0, got 0",
        ),
        ({"method": "snip", "settings": {"rounds": 2}}, r"variants.x: settings.rounds: Extra"),
        ({"method": "autos", "settings": {"rounds": 2}}, r"variants.x: settings.rounds: Extra"),
    ],
)
def test_a_wrong_variant_is_named(variant, line):
    with pytest.raises(UserError) as error:
        load("prune.variants", {"x": variant})
    assert f"prune.{line}" in str(error.value)


def test_every_mask_has_its_checks_in_a_chain_of_its_own(image_store):
    checks = ["shuffle", "invert", "random_ticket"]
    config = small(image_store, methods=["snip", "erk"], checks=checks)
    for chain in config.chains(inputs(image_store)):
        name = chain[0].name
        assert [unit.name for unit in chain] == [name, *(f"{name}/{check}" for check in checks)]
        assert chain[1].inputs["mask"] == chain[0].key
        assert not chain[0].settings.inverted and chain[2].settings.inverted


def small(image_store, **changes):
    """Section prune with one target, density and seed."""
    targets = {"net": {"architecture": "lenet_300_100", "images": image_store.stem}}
    cells = {"targets": targets, "densities": [0.1], "seeds": [0]}
    return PruneConfig(**{**shipped()["prune"], **cells, **changes})


def no_recipe(target):
    raise AssertionError(f"scores need no recipe for {target}")


def inputs(image_store):
    return Inputs(image_store.parent, Path("predictor"), no_recipe, Hardware())


def test_an_image_set_that_is_not_prepared_is_told_with_the_nearest_one(image_store):
    name, folder = image_store.stem, image_store.parent
    config = load("prune.targets", {"net": {"architecture": "lenet_5", "images": f"{name}y"}})
    with pytest.raises(UserError) as error:
        config.chains(Inputs(folder, Path("p"), no_recipe, Hardware()))
    assert problem(error.value).startswith(
        f"params.yaml: unknown image set '{name}y'; did you mean "
    )
    assert f"'{name}'" in str(error.value) and "\n" not in str(error.value)


# --- compute ---


def test_jobs_are_cores_or_a_number():
    assert load("compute.jobs", "auto").workers == len(os.sched_getaffinity(0))
    assert load("compute.jobs", "3").workers == 3
    for bad in ("0", "-1", "1.5", "many"):
        assert mistake("compute.jobs", bad).startswith("compute.jobs.")


def test_one_training_takes_one_device():
    assert load("compute.devices", "[3]").devices == [3]
    for bad in ("2", "[0, 1]", "[]", "0"):
        assert mistake("compute.devices", bad).startswith("compute.devices.")


def test_results_do_not_depend_on_the_number_of_jobs():
    assert load("compute.jobs", "1").hardware == load("compute.jobs", "4").hardware
    assert set(Hardware.model_fields) == set(Compute.model_fields) - {"jobs"}


def test_networks_are_scored_where_they_are_trained():
    assert Hardware(accelerator="cpu").device == torch.device("cpu")
    for accelerator in ("auto", "gpu", "cuda"):
        device = Hardware(accelerator=accelerator, devices=[1]).device
        assert device == torch.device("cuda:1" if torch.cuda.is_available() else "cpu")


# --- the files that come with the repository ---


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def file(request) -> Path:
    return request.param


@pytest.fixture(scope="module")
def sections(file, tmp_path_factory) -> dict[str, Config]:
    """The settings in each shipped file, read from where stages read them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("params"))
        Path("params.yaml").write_bytes(file.read_bytes())
        return {name: section(kind, name) for name, kind in SECTIONS.items()}


def test_the_profiles_are_those_that_the_makefile_names():
    assert {path.stem for path in FILES} == {"params", "smoke", "paper"}


def test_every_section_is_valid_and_no_value_is_left_out(file, sections):
    written = yaml.safe_load(file.read_text())
    for name, settings in sections.items():
        read = settings.model_dump(mode="json", exclude_unset=True)
        assert read == written[name]


def test_there_is_a_section_for_every_stage_one_for_all_and_no_other(file):
    assert set(yaml.safe_load(file.read_text())) == {*WORKERS_IMPORT, "compute"} == set(SECTIONS)


def test_every_target_has_a_recipe_and_every_recipe_a_target(sections):
    assert set(sections["finetune"].recipes) == set(sections["prune"].targets)


def test_every_image_set_is_prepared_and_every_prepared_one_is_used(sections):
    networks = [*sections["irp"].sources.values(), *sections["prune"].targets.values()]
    assert {network.images for network in networks} == set(sections["prepare"].images)


def test_the_predictor_learns_from_sources_that_irp_prunes(sections):
    chosen = sections["train_predictor"].sources
    assert chosen == "all" or set(chosen) <= set(sections["irp"].sources)


def test_both_predictors_are_compared_with_other_methods(sections):
    assert set(PREDICTORS) < set(sections["prune"].methods)


def test_densities_fall_over_the_rounds_to_the_final_one(sections):
    for source in sections["irp"].sources.values():
        densities = [1.0, *source.densities]
        assert densities == sorted(densities, reverse=True)
        assert len(set(densities)) == source.rounds + 1
        assert densities[-1] == source.final_density


# --- from the command line ---


def run_stage(*arguments: str) -> list[str]:
    """Lines on stderr of a stage that ends with a user's mistake and leaves no trace."""
    before = sorted(Path().rglob("*"))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "stages", *arguments], env=env, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert sorted(Path().rglob("*")) == before
    return done.stderr.splitlines()


def test_a_stage_ends_in_one_line_and_writes_nothing():
    mistake("prune.densities.1", "1.5")
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("jobs: auto", "jobs: 1"))
    assert run_stage("prune") == [
        "error: params.yaml: prune.densities.1: Input should be less than or equal to 1, got 1.5"
    ]


def test_a_wrong_hardware_section_ends_in_one_line_before_workers_start():
    mistake("compute.jobs", "0")
    (line,) = run_stage("irp")
    assert line.startswith("error: params.yaml: compute.jobs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prun"], "error: unknown stage 'prun'; did you mean 'prune'? known: evaluate, "),
        ([], "error: unknown stage ''; known: evaluate, "),
        (["prune", "irp"], "error: unknown stage 'prune irp'; "),
        (["_stage"], "error: unknown stage '_stage'; "),
    ],
)
def test_an_unknown_stage_is_told_with_the_nearest_one(arguments, message):
    (line,) = run_stage(*arguments)
    assert line.startswith(message)


def test_a_target_says_which_weights_are_pruned_and_its_network_is_that_without():
    network = {"architecture": "lenet_5", "images": "photos"}
    target = TargetConfig.validated({**network, "exclude": ["0"], "include": ["*"]}, "target")
    assert (target.include, target.exclude) == (["*"], ["0"])
    assert target.network == NetworkConfig.validated(network, "network")


# --- what no setting can be ---

SEED = "prepare.images.fashion_mnist_sample.seed"


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        (SEED, "2026-01-31", "a date, 2026-01-31; put it in quotes if it is a text"),
        ("prune.targets.lenet_5.images", "2026-01-31 10:00:00", "a date, "),
        (SEED, str(2**70), "a number of more than 64 bits"),
        (SEED, "[" * 60 + "]" * 60, "too deep within each other"),
    ],
)
def test_a_date_a_long_number_and_deep_settings_are_named_by_their_key(key, text, message):
    line = mistake(key, yaml.safe_load(text))
    assert line.startswith(key) and message in line


@pytest.mark.parametrize(
    "text",
    [
        "9" * 5000,
        "2026-13-45",
        "!!timestamp x",
        "!!int x",
        "!!float x",
        "[" * 3000 + "]" * 3000,
        "{[1]: 2}",
        "!!python/object:os.system x",
        "\x00",
        "*missing",
    ],
)
def test_what_yaml_cannot_read_is_told_in_a_line(text):
    Path("params.yaml").write_bytes(f"evaluate: {text}".encode(errors="surrogateescape"))
    with pytest.raises(UserError) as error:
        section(EvaluateConfig, "evaluate")
    assert str(error.value).startswith("params.yaml: not valid YAML: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]",
        "&a {b: *a}",
        "[&a [x, x, x, x, x, x, x, x, x, x]"
        + "".join(
            f", &{one} [{', '.join([f'*{before}'] * 10)}]"
            for before, one in zip("abcdefghi", "bcdefghij", strict=True)
        )
        + "]",
    ],
    ids=["list in itself", "mapping in itself", "a thousand million laughs"],
)
def test_settings_within_themselves_and_without_end_are_refused(text):
    Path("params.yaml").write_text(f"prune:\n  variants: {text}\n")
    with pytest.raises(SettingError, match="too many settings, or too deep within each other"):
        section(PruneConfig, "prune")


def test_a_number_of_thousands_of_digits_is_named_by_its_key():
    Path("params.yaml").write_text(f"evaluate: {{confidence: {hex(16**5000)}}}")
    with pytest.raises(SettingError, match=r"^evaluate\.confidence: a number of more than 64 bits"):
        section(EvaluateConfig, "evaluate")


def test_a_folder_in_the_place_of_a_file_is_named():
    Path("params.yaml").mkdir()
    with pytest.raises(UserError, match=r"^params\.yaml: Is a directory$"):
        section(EvaluateConfig, "evaluate")


@pytest.mark.parametrize("name", ["a" * 61, "ä" * 31, "a" * 5000])
def test_a_name_too_long_for_a_file_is_refused(name):
    networks = {name: shipped()["prune"]["targets"]["lenet_5"]}
    assert "is longer than the 60 bytes of a name" in mistake("prune.targets", networks)


def test_the_longest_names_make_a_file(tmp_path):
    """The longest of everything that a cell is called by, and what its file's name gets besides."""
    name, density = "a" * 60, 1.2345678901234567e-9
    cell = Cell(target=name, method=name, density=density, seed=-(2**62), check="random_ticket")
    unit = Unit(cell.unit("prune"), checked_mask, EvaluateConfig(), {})
    longest = unit.path.with_suffix(".mlflow.json").name
    with replacing(tmp_path / longest) as temporary:
        temporary.touch()


def test_a_density_of_which_nothing_is_kept_is_refused():
    assert "below 1e-9" in mistake("prune.densities", [1e-300])


def test_nesterov_without_momentum_is_refused():
    recipe = {**shipped()["finetune"]["recipes"]["lenet_5"], "optimizer": "sgd", "nesterov": True}
    recipe |= {"momentum": 0.0}
    line = mistake("finetune.recipes.lenet_5", recipe)
    assert line == f"{RECIPE}: nesterov needs a momentum above 0"


def test_settings_in_python_are_checked_alike():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value, message in ((10**5000, "64 bits"), (deep, "too deep"), ("x" * 10**6, "valid int")):
        with pytest.raises(SettingError) as error:
            Variant.validated({"method": "synflow", "settings": {"rounds": value}}, "here")
        assert message in str(error.value) and len(str(error.value)) < 1000


def test_no_number_of_a_method_is_without_a_limit():
    """Whatever it is, 10**15 rounds, steps or samples would not come to an end."""
    for method in METHODS.values():
        for name, kind in method.settings.model_fields.items():
            if kind.annotation in (int, int | None):
                with pytest.raises(SettingError, match=name):
                    method.settings.validated({name: 10**15}, "here")
