"""The README says what the repository does."""

import json
import re
import runpy
from pathlib import Path

import yaml

README = Path("README.md").read_text()


def test_results_are_those_of_the_committed_report():
    script = runpy.run_path("docs/update_readme.py")
    assert script["updated"](README) == README


def test_results_are_those_of_the_default_parameters():
    """Every target, method and density of params.yaml, with the accuracies of metrics.json."""
    prune = yaml.safe_load(Path("params.yaml").read_text())["prune"]
    metrics = json.loads(Path("data/report/metrics.json").read_text())
    assert len(prune["seeds"]) >= 3
    for target in prune["targets"]:
        table = README.split(f"### {target}\n")[1]
        head = [f"{100 * density:.3g} %" for density in prune["densities"]]
        assert f"| method | {' | '.join(head)} |" in table
        for method in prune["methods"]:
            row = re.search(rf"^\| {method} \| (.*) \|$", table, flags=re.MULTILINE)
            assert row, (target, method)
            for cell, density in zip(row[1].split(" | "), prune["densities"], strict=True):
                figures = metrics[target][method][f"{density:g}"]
                expected = f"{100 * figures['mean']:.1f} ± {100 * figures['std']:.1f}"
                assert cell.strip("*") == expected


def test_paths_of_the_readme_exist():
    linked = re.findall(r"\]\((?!http)([^)]+)\)", README)
    tree = re.search(r"## The tree\n+```\n(.*?)```", README, flags=re.DOTALL)[1]
    folder, named = "", []
    for line in tree.splitlines():
        name = re.split(r"\s{2,}", line.strip())[0]
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
            named.append(name)
        else:
            named.append(folder + name)
    assert len(named) > 20
    for path in [*linked, *named]:
        assert Path(path).exists(), path


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"\bmake ([a-z]+)", README))
    makefile = Path("Makefile").read_text()
    assert {"repro", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for profile in re.findall(r"PROFILE=([a-z]+)", README):
        assert Path(f"profiles/{profile}.yaml").exists()
