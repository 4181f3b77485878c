"""Facts as tables for people, and a progress bar."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from autos.cli.inspection import MASK, TRAINED, Facts
from autos.network.batches import Batch, Batches

WIDE = 1000
"""Number of columns where the output is no terminal, so that names are not cut."""


def show(facts: Facts) -> None:
    """Print facts about a file, as `inspect` and `prune` return them."""
    console = _console()
    if facts["kind"] == MASK:
        console.print(f"{facts['file']}: a mask that keeps {_share(facts)}")
        console.print(layer_table(facts))
    elif facts["kind"] == TRAINED:
        console.print(f"{facts['file']}: predictors of survival, learned from")
        console.print(source_table(facts["sources"]))
    else:
        console.print(f"{facts['file']}: rounds of pruning that each weight survived")
        for name, network in facts["networks"].items():
            console.print(f"\n{name}: {_share(network)} survived {network['rounds']} rounds")
            console.print(layer_table(network))
            console.print(settings_table(network["about"]))
    if "about" in facts:
        console.print(settings_table(facts["about"]))
    if "seconds" in facts:
        console.print(f"\nscored in {facts['seconds']:.1f} s")
    if facts.get("noise"):
        console.print("Scored on noise, not on data: good for a first look.", style="yellow")


def show_catalogue(sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Print names with a line about each, under a heading per section."""
    console = _console()
    for title, entries in sections.items():
        if entries:
            console.print(title, style="bold")
            methods = title == "methods"
            console.print(method_table(entries) if methods else _grid(entries, indent=2), "")
    console.print("Trained predictors: autos, the default of `autos prune`, and autos_paper.")
    console.print("`autos list --json` has what each method does, and its settings.")


def method_table(methods: Mapping[str, Facts]) -> Table:
    """Make a table of methods, with a row for each."""
    table = _table("name", "kind", "data", "cost", "paper")
    for name, method in methods.items():
        paper = f"{method['paper']} {method['year']}" if method["paper"] else ""
        table.add_row(name, method["kind"], method["data"], method["cost"], paper)
    return table


def show_analysis(facts: Facts) -> None:
    """Print what an analysis found: its rows as a table, and the summary below."""
    console, rows = _console(), facts["rows"]
    words = {name for name, value in rows[0].items() if isinstance(value, str)}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        justify: Any = "left" if name in words else "right"
        table.add_column(name.replace("_", " "), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*map(_short, row.values()))
    console.print(facts["title"])
    console.print(table)
    summary = facts["summary"]
    console.print(_grid({n.replace("_", " "): _short(value) for n, value in summary.items()}))


def layer_table(facts: Facts) -> Table:
    """Make a table of layers and their total; layers that keep nothing are red."""
    table = _table("layer", "shape", weights="right", kept="right", density="right")
    for layer in facts["layers"]:
        style = None if layer["kept"] else "red"
        shape = " x ".join(map(str, layer["shape"]))
        table.add_row(layer["name"], shape, *_counts(layer), style=style)
    table.add_section()
    table.add_row("total", "", *_counts(facts), style="bold")
    return table


def source_table(sources: Mapping[str, Facts]) -> Table:
    """Make a table of the networks that predictors learned from."""
    columns = ("architecture", "width", "images", "criterion", "rounds", "final_density")
    table = _table("source", *(column.replace("_", " ") for column in columns))
    for name, source in sources.items():
        table.add_row(name, *(str(source.get(column, "")) for column in columns))
    return table


def settings_table(about: Facts) -> Table:
    """Make a table of provenance, with nested values under dotted names.

    What the table of layers shows is left out.
    """
    shown = {"kept", "total", "layer_densities", "empty_layers"}
    return _grid(_flat({name: value for name, value in about.items() if name not in shown}))


@contextlib.contextmanager
def progress(batches: Batches) -> Iterator[Batches]:
    """Yield the same batches; while they are read, a bar moves on stderr if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns,
        TextColumn("batches"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        yield _Watched(batches, bar)


class _Watched:
    def __init__(self, batches: Batches, bar: Progress) -> None:
        self.batches, self.bar = batches, bar
        self.task = bar.add_task("scoring", total=None)
        self.passes = 0

    def __len__(self) -> int:
        # Batches without a length raise a TypeError, which tells the caller so.
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        self.passes += 1
        total = len(self.batches) if isinstance(self.batches, Sized) else None
        description = f"scoring, pass {self.passes}"
        # Methods differ in how often they read the batches, so every reading is a bar of its own.
        self.bar.update(self.task, completed=0, total=total, description=description)
        for batch in self.batches:
            yield batch
            self.bar.advance(self.task)


def _console() -> Console:
    console = Console(highlight=False, markup=False, soft_wrap=False)
    return console if console.is_terminal else Console(width=WIDE, highlight=False, markup=False)


def _table(*left: str, **others: Any) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in left:
        table.add_column(name, overflow="fold")
    for name, justify in others.items():
        table.add_column(name, justify=justify)
    return table


def _grid(entries: Mapping[str, str], indent: int = 0) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in ("name", "value"):
        table.add_column(overflow="fold")
    for name, value in entries.items():
        table.add_row(" " * indent + name, value)
    return table


def _counts(facts: Facts) -> tuple[str, str, str]:
    return f"{facts['weights']:,}", f"{facts['kept']:,}", f"{100 * facts['density']:.2f} %"


def _share(facts: Facts) -> str:
    weights, kept, density = _counts(facts)
    return f"{kept} of {weights} weights ({density})"


def _flat(about: Facts, prefix: str = "") -> dict[str, str]:
    lines: dict[str, str] = {}
    for name, value in about.items():
        if isinstance(value, Mapping):
            lines |= _flat(dict(value), f"{prefix}{name}.")
        else:
            lines[prefix + name] = _text(value)
    return lines


def _short(value: Any) -> str:
    """Word a value in a few characters, floats with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)
