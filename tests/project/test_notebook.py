"""The notebook on reuse runs, and what is committed is what it shows."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(DOCS / "reuse.ipynb", as_version=4)


@pytest.fixture(scope="module")
def executed():
    notebook = nbformat.read(DOCS / "reuse.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(DOCS)}}
    return NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources=resources,
        coalesce_streams=True,  # on a busy machine prints arrive one by one
    ).execute()


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def text(notebook):
    """What its cells printed or returned, without pictures."""
    parts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs(notebook)]
    return "\n".join(parts)


def test_it_keeps_a_twentieth_of_a_network_and_trains_it(executed):
    found = re.search(r"([\d,]+) of ([\d,]+) weights kept", text(executed))
    kept, total = (int(number.replace(",", "")) for number in found.groups())
    assert kept == round(0.05 * total) and total > 11_000_000
    found = re.search(r"loss (\S+) at first, (\S+) after", text(executed))
    first, last = map(float, found.groups())
    assert last < first - 0.5
    assert "largest pruned weight of the first layer: 0\n" in text(executed)
    assert "the same mask: True" in text(executed)


def test_it_draws_a_picture_and_warns_of_nothing(executed):
    assert sum("image/png" in output.get("data", {}) for output in outputs(executed)) == 1
    assert not [output for output in outputs(executed) if output.get("name") == "stderr"]


def test_the_committed_outputs_are_those_of_the_run(committed, executed):
    """But for losses, which differ between machines in their last digits."""
    losses = r"loss [\d.]+ at first, [\d.]+ after"
    assert re.sub(losses, "", text(committed)) == re.sub(losses, "", text(executed))


def test_the_committed_file_names_no_place_on_a_machine(committed):
    # Pictures are base64, which has slashes.
    assert not re.search(r"(^|[\s'\"=(])(~|/\w+/)", text(committed))
    counts = [cell.execution_count for cell in committed.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
