"""dvc.yaml lists exactly what each stage depends on and what it makes."""

import ast
from pathlib import Path

import grimp
import pytest
import yaml

from pipeline.compute import Hardware
from pipeline.fingerprint import REGISTRIES
from pipeline.irp import IRP_CRITERIA
from stages.__main__ import WORKERS_IMPORT

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "pipeline", "stages")
STAGES: dict[str, dict] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PATH_READ_AS_CODE = {"train_predictor": {"stages/_mlflow_model.py"}}
"""MLflow gets this file by its path."""

every_stage = pytest.mark.parametrize("stage", STAGES)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports between our modules, also those inside functions."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def file_of(module: str) -> str:
    path = Path(*module.split("."))
    package = path / "__init__.py"
    return str(package if (ROOT / package).is_file() else path.with_suffix(".py"))


def folder_of(registry: str) -> set[str]:
    folder = Path(*registry.split("."))
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*.py")}


def needed(graph: grimp.ImportGraph, stage: str) -> set[str]:
    """Files of code that can change the outputs of a stage.

    Of a registry that the stage looks names up in, these are all files, since the user chooses
    among its entries; IRP allows some criteria only.
    """
    files: set[str] = set()
    seen: set[str] = set()
    todo = ["stages.__main__", f"stages.{stage}"]
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        if module not in REGISTRIES:
            files.add(file_of(module))
            todo += graph.find_modules_directly_imported_by(module)
            continue
        chosen = folder_of(module)
        if stage == "irp" and module == "pipeline.criteria":
            chosen = {f"pipeline/criteria/{name}.py" for name in (*IRP_CRITERIA, "__init__")}
        others = graph.find_modules_directly_imported_by(module)
        todo += [other for other in others if other in REGISTRIES]  # methods name all criteria
        for file in chosen - {file_of(module)}:
            todo.append(file.removesuffix(".py").replace("/", "."))
        files |= chosen
    return files | PATH_READ_AS_CODE.get(stage, set())


def listed_code(stage: str) -> set[str]:
    """Files of code that a stage lists, also as part of a folder."""
    files: set[str] = set()
    for name in STAGES[stage]["deps"]:
        if name.startswith("data/"):
            continue
        path = ROOT / name
        found = [path] if path.is_file() else path.glob("*.py")
        files |= {str(file.relative_to(ROOT)) for file in found}
    return files


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
    assert f'.load("{stage}")' in source
    hardware = [f"compute.{name}" for name in Hardware.model_fields]
    recipes = ["finetune.recipes"] if stage == "prune" else []  # for methods that train
    expected = [stage, *recipes, *(hardware if "Compute.load" in source else [])]
    assert STAGES[stage]["params"] == expected


def test_stages_that_train_or_score_read_the_hardware():
    reading = {stage for stage in STAGES if "compute.accelerator" in STAGES[stage]["params"]}
    assert reading == {"irp", "train_predictor", "prune", "finetune"}


# --- code ---


@every_stage
def test_every_file_of_code_that_matters_is_a_dependency(graph, stage):
    assert needed(graph, stage) - listed_code(stage) == set()


@every_stage
def test_no_other_file_of_code_is(graph, stage):
    assert listed_code(stage) - needed(graph, stage) == set()


@every_stage
def test_no_dependency_is_listed_twice_or_does_not_exist(stage):
    deps = STAGES[stage]["deps"]
    assert len(set(deps)) == len(deps)
    assert not [(a, b) for a in deps for b in deps if a != b and within(a, b)]
    for name in deps:
        assert name.startswith("data/") or (ROOT / name).exists()


def test_lazy_imports_are_dependencies():
    for stage in ("irp", "finetune"):
        assert "pipeline/training.py" in listed_code(stage)
    assert "pipeline/predictor_fit.py" in listed_code("train_predictor")


def test_other_criteria_do_not_rerun_irp():
    criteria = {name for name in listed_code("irp") if name.startswith("pipeline/criteria/")}
    assert criteria == {f"pipeline/criteria/{n}.py" for n in (*IRP_CRITERIA, "__init__")}
    assert folder_of("pipeline.criteria") <= listed_code("prune")


@every_stage
def test_what_workers_import_in_advance_is_what_the_stage_uses(graph, stage):
    used = needed(graph, stage)
    for module in WORKERS_IMPORT[stage]:
        assert file_of(module) in used
    starts_workers = "pipeline/executor.py" in used
    assert bool(WORKERS_IMPORT[stage]) == starts_workers


# --- data ---


@every_stage
def test_every_path_that_a_stage_names_is_its_input_or_its_output(stage):
    made = set(made_by(stage))
    for name, path in constants(stage).items():
        read = [dep for dep in STAGES[stage]["deps"] if within(dep, path)]
        written = [out for out in made if within(out, path)]
        if name in ("OUT", "REPORT", "SECONDS"):
            assert written and not read, f"{name} = {path}"
        else:
            assert read and not written, f"{name} = {path}"


@every_stage
def test_every_input_and_output_is_a_path_that_the_stage_names(stage):
    named = [*constants(stage).values(), f"data/runs/{stage}.json"]
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
    for path in ("data/runs", "data/finetune_seconds.json"):
        assert not [dep for dep in deps if within(dep, path) or within(path, dep)]


def test_only_the_report_is_kept_in_git():
    for stage in STAGES:
        for path, options in made_by(stage).items():
            assert (options.get("cache") is False) == within(path, "data/report"), path
            assert "persist" not in options, "dvc would keep results of other settings"
