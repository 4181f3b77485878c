"""What a result was computed with: a hash of code that comments and layout do not change."""

import ast
import functools
import hashlib
import importlib.metadata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROJECT = ("pipeline", "models")
REGISTRIES = ("models", "pipeline.criteria", "pipeline.datasets", "pipeline.methods")
"""Packages that only name their modules: what a result uses of them is given to `code`."""

LIBRARIES = ("torch", "torchvision", "lightning", "numpy")


@functools.cache
def code(modules: frozenset[str]) -> str:
    """Hash of the given modules and of all they import from this project, and library versions."""
    state = hashlib.sha256()
    for name in sorted(_closure(modules)):
        state.update(f"{name}\n{_without_docstrings(name)}\n".encode())
    for library in LIBRARIES:
        state.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    return state.hexdigest()


def module_of(entry: Callable[..., Any]) -> str:
    """Name of the module that defines a registry's entry."""
    while isinstance(entry, functools.partial):
        entry = entry.func
    return entry.__module__


def settings_of(entry: Callable[..., Any]) -> dict[str, Any]:
    """Arguments that the registry itself gives to the entry."""
    return dict(entry.keywords) if isinstance(entry, functools.partial) else {}


@functools.cache
def imports(module: str) -> set[str]:
    """Modules of this project that `module` imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {n for n in found if n.split(".")[0] in PROJECT and _source(n) is not None}


def _closure(modules: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(imports(name) - set(REGISTRIES))
    return seen


def _source(module: str) -> Path | None:
    # Not importlib's find_spec: that imports the parents, and some take seconds.
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _tree(module: str) -> ast.Module:
    source = _source(module)
    if source is None:
        raise ModuleNotFoundError(module)
    return ast.parse(source.read_text())


@functools.cache
def _without_docstrings(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
