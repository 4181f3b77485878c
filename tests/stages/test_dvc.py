"""dvc.yaml: a stage depends on all that can change what it makes, and the stages fit together."""

import ast
from pathlib import Path

import grimp
import pytest
import yaml

from autos.compute import Hardware
from autos.work.fingerprint import REGISTRIES
from stages._program import WORKERS_IMPORT

ROOT = Path(__file__).parents[2]
PLACES = {"autos": "pipeline/autos", "models": "models", "stages": "stages"}
"""Folder of each of our packages."""
STAGES: dict[str, dict] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CHANGE_NO_RESULT = {"autos.compute", "autos.config", "autos.errors"}
"""Modules that read settings and word errors; a stage that lists rooms need not list them."""

every_stage = pytest.mark.parametrize("stage", STAGES)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports between our modules, also those inside functions."""
    return grimp.build_graph(*PLACES, cache_dir=None)


def file_of(module: str) -> str:
    package, *below = module.split(".")
    path = Path(PLACES[package], *below)
    return str(path if (ROOT / path).is_dir() else path.with_suffix(".py"))


def needed(graph: grimp.ImportGraph, stage: str) -> set[str]:
    """Modules that a stage uses, and all entries of the registries in which it looks names up.

    The package of the architectures is found by its name.
    """
    found: set[str] = set()
    todo = ["stages.__main__", f"stages.{stage}"]
    while todo:
        module = todo.pop()
        if module in found or module == "stages._tidy":  # No stage runs that.
            continue
        found.add(module)
        todo += graph.find_modules_directly_imported_by(module)
        if module in REGISTRIES:
            todo += graph.find_children(module)
        if module == "autos.network.zoo":
            todo += ["models", *graph.find_children("models")]
    return found


def made_by(stage: str) -> dict[str, dict]:
    """Path and options of everything that a stage makes."""
    made: dict[str, dict] = {}
    for kind in ("outs", "metrics", "plots"):
        for entry in STAGES[stage].get(kind, []):
            made |= entry if isinstance(entry, dict) else {entry: {}}
    return made


def constants(stage: str) -> dict[str, str]:
    """The paths in data/ that the stage's module names at its top."""
    found = {}
    for node in ast.parse((ROOT / f"stages/{stage}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Path('data/"):
            assert isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call)
            found[node.targets[0].id] = ast.literal_eval(node.value.args[0])
    return found


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


# --- commands and parameters ---


def test_the_entry_point_knows_exactly_the_stages():
    assert list(WORKERS_IMPORT) == list(STAGES)


@every_stage
def test_a_stage_is_the_module_of_its_name(stage):
    assert STAGES[stage]["cmd"] == f"python -m stages {stage}"
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "main" in functions


@every_stage
def test_it_depends_on_its_section_and_on_the_hardware_where_it_trains(stage):
    """Not on compute.jobs: results are the same for any number of processes."""
    source = (ROOT / f"stages/{stage}.py").read_text()
    assert f', "{stage}")' in source
    hardware = [f"compute.{name}" for name in Hardware.model_fields]
    recipes = ["finetune.recipes"] if stage == "prune" else []  # for methods that train
    reads_hardware = 'section(Compute, "compute")' in source
    assert STAGES[stage]["params"] == [stage, *recipes, *(hardware if reads_hardware else [])]


def test_stages_that_train_or_score_read_the_hardware():
    reading = {stage for stage in STAGES if "compute.accelerator" in STAGES[stage]["params"]}
    assert reading == {"irp", "train_predictor", "prune", "finetune"}


# --- code ---


@every_stage
def test_every_file_of_code_that_matters_is_within_a_dependency(graph, stage):
    files = {file_of(module) for module in needed(graph, stage) - CHANGE_NO_RESULT}
    deps = STAGES[stage]["deps"]
    assert [file for file in sorted(files) if not any(within(file, dep) for dep in deps)] == []


@every_stage
def test_dependencies_are_few_folders_none_of_them_twice(graph, stage):
    deps = STAGES[stage]["deps"]
    assert 2 <= len(deps) <= 6
    assert not [(a, b) for a in deps for b in deps if a is not b and within(a, b)]
    used = {file_of(module) for module in needed(graph, stage)}
    for name in deps:
        if not name.startswith("data/"):
            assert (ROOT / name).is_dir()
            assert any(within(file, name) for file in used), f"{stage} does not use {name}"


@every_stage
def test_what_workers_import_in_advance_is_what_the_stage_uses(graph, stage):
    used = needed(graph, stage)
    assert set(WORKERS_IMPORT[stage]) <= used
    assert bool(WORKERS_IMPORT[stage]) == ("autos.work.executor" in used)


# --- data ---


@every_stage
def test_every_path_that_a_stage_names_is_its_input_or_its_output(stage):
    made = set(made_by(stage))
    for name, path in constants(stage).items():
        read = [dep for dep in STAGES[stage]["deps"] if within(dep, path)]
        written = [out for out in made if within(out, path)]
        if name == "OUT":
            assert written and not read, f"{name} = {path}"
        else:
            assert read and not written, f"{name} = {path}"


@every_stage
def test_every_input_and_output_is_a_path_that_the_stage_names(stage):
    named = [*constants(stage).values()]
    if stage == "prepare":
        named.append("data/fashion_mnist_sample")  # named by its reader
    data = [dep for dep in STAGES[stage]["deps"] if dep.startswith("data/")]
    for path in [*data, *made_by(stage)]:
        assert any(within(path, name) for name in named), path


@every_stage
def test_every_input_comes_from_an_earlier_stage_or_with_the_repository(stage):
    earlier = list(STAGES)[: list(STAGES).index(stage)]
    made = [path for name in earlier for path in made_by(name)]
    for dep in STAGES[stage]["deps"]:
        if dep.startswith("data/") and dep != "data/fashion_mnist_sample":
            assert any(within(dep, path) for path in made), dep


def test_no_path_is_made_by_two_stages():
    made = [path for stage in STAGES for path in made_by(stage)]
    assert not [(a, b) for i, a in enumerate(made) for b in made[i + 1 :] if within(a, b)]
    assert len(set(made)) == len(made)


def test_no_stage_depends_on_what_differs_between_runs():
    deps = {dep for stage in STAGES.values() for dep in stage["deps"]}
    for path in ("data/runs", "data/seconds"):
        assert not [dep for dep in deps if within(dep, path) or within(path, dep)]


def test_only_the_report_is_kept_in_git():
    for stage in STAGES:
        for path, options in made_by(stage).items():
            assert (options.get("cache") is False) == within(path, "data/report"), path
            assert "persist" not in options, "dvc would keep results of other settings"
