"""What a result was computed with: a hash over the code that computes it, and over no other code.

The hash follows names. From a function it goes to the functions, classes and constants that the
function mentions, to those that these mention, and so on. Comments, docstrings, layout, and the
words of errors and warnings do not count. Where the library ends and somebody's own code begins,
whole modules count, with all that they import, since that code may do what it likes.

Left out are rooms of the library whose code computes no result (`NEUTRAL`), and registries, which
name many entries of which a result uses one or two: that one has to be given to `code` by itself.
"""

import ast
import copy
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = "autos"
NEUTRAL = ("autos.config", "autos.errors", "autos.storage", "autos.work")
"""Modules and packages that check settings, word errors, keep files, and order the work."""

REGISTRIES = (
    "autos.images.datasets",
    "autos.methods",
    "autos.methods.criteria",
    "autos.predictors",
)
"""Packages that only name their modules."""

VERSIONS = ("torch", "torchvision", "lightning", "numpy")
"""Distributions whose version counts, if they are installed."""


@functools.cache
def code(roots: frozenset[str]) -> str:
    """Return the SHA-256 of the given code, of all code that it uses, and of library versions.

    Args:
        roots: Where to begin: "package.module:definition", or "package.module" for all of it.

    Raises:
        ModuleNotFoundError: There is no source of a root.
    """
    state = hashlib.sha256()
    for place in sorted(closure(roots)):
        state.update(f"{place}\n{_text(place)}\n".encode())
    for distribution in VERSIONS:
        state.update(f"{distribution} {version(distribution)}\n".encode())
    return state.hexdigest()


def version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def closure(roots: frozenset[str]) -> set[str]:
    """Return the roots and all that they use, in the form of the roots."""
    seen: set[str] = set()
    todo = list(roots)
    while todo:
        place = todo.pop()
        if place not in seen:
            seen.add(place)
            todo.extend(_used_by(place))
    return seen


@dataclass(frozen=True)
class _Module:
    """The source of a module, taken apart.

    Attributes:
        name: Dotted name.
        body: All statements of its top level.
        definitions: Statements of the top level by the name that they define.
        imports: Dotted paths by the local name that an import anywhere in the module gives them.
        star: Modules of which everything is imported.
    """

    name: str
    body: Sequence[ast.stmt]
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, set[str]] = field(default_factory=dict)
    star: set[str] = field(default_factory=set)

    def statements(self, name: str) -> Sequence[ast.stmt]:
        """Return the statements that define `name`, or all for an empty name."""
        return self.definitions[name] if name else self.body


@functools.cache
def _parsed(name: str) -> _Module:
    source = _source(name)
    if source is None:
        raise ModuleNotFoundError(name)
    module = _Module(name, ast.parse(source.read_text()).body)
    for statement in module.body:
        for defined in _defined_by(statement):
            module.definitions.setdefault(defined, []).append(statement)
    package = name if source.name == "__init__.py" else name.rpartition(".")[0]
    for node in (node for statement in module.body for node in ast.walk(statement)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` makes `a` known, `import a.b as c` makes `a.b` known as `c`.
                local, path = (alias.asname, alias.name) if alias.asname else (alias.name,) * 2
                module.imports.setdefault(local.partition(".")[0], set()).add(
                    path if alias.asname else path.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1]
            origin = ".".join([*(up if node.level else []), *filter(None, [node.module])])
            for alias in node.names:
                if alias.name == "*":
                    module.star.add(origin)
                else:
                    local = alias.asname or alias.name
                    module.imports.setdefault(local, set()).add(f"{origin}.{alias.name}")
    return module


def _defined_by(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of the top level defines."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _used_by(place: str) -> Iterator[str]:
    """Yield what a definition, or a whole module, uses directly."""
    name, _, definition = place.partition(":")
    module = _parsed(name)
    if not _is(name, LIBRARY):  # Somebody's own module counts with all that it imports.
        for path in module.star.union(*module.imports.values()):
            yield from _places(path)
        return
    for dotted in _mentions(module.statements(definition)):
        head, _, rest = dotted.partition(".")
        if definition and head in module.definitions:
            yield f"{name}:{head}"
        for path in module.imports.get(head, ()):
            yield from _places(f"{path}.{rest}" if rest else path)


def _mentions(statements: Sequence[ast.stmt]) -> set[str]:
    """Return all names in the code, with their attributes: "a", or "a.b.c"."""
    found: set[str] = set()
    todo: list[ast.AST] = [*statements]
    while todo:
        node = todo.pop()
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            found.add(".".join([node.id, *reversed(attributes)]))
        todo.extend(ast.iter_child_nodes(node))
    return found


def _places(path: str) -> Iterator[str]:
    """Yield what a dotted path leads to: a definition, a whole module, or nothing of interest."""
    parts = path.split(".")
    length = next((n for n in range(len(parts), 0, -1) if _source(".".join(parts[:n]))), 0)
    module, rest = ".".join(parts[:length]), parts[length:]
    if not length or module in REGISTRIES or any(_is(module, room) for room in NEUTRAL):
        return
    if not _is(module, LIBRARY) or not rest:
        yield module
    elif rest[0] in _parsed(module).definitions:
        yield f"{module}:{rest[0]}"
    else:
        for further in _parsed(module).imports.get(rest[0], ()):
            yield from _places(".".join([further, *rest[1:]]))


def _is(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@functools.cache
def _source(module: str) -> Path | None:
    """Return the source of a module that may change; None for installed packages and others.

    Subpackages are not imported to find out, since some take seconds.
    """
    top, *below = module.split(".")
    for folder in _folders(top):
        path = folder.joinpath(*below)
        for candidate in (path / "__init__.py", path.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


@functools.cache
def _folders(top: str) -> list[Path]:
    """Return where a top-level module, or package, of the user's or of this library is."""
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return []
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    places = list(spec.submodule_search_locations or [])
    folders = [Path(place) for place in places] or [Path(spec.origin or "").with_suffix("")]
    installed = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
    if top != LIBRARY and any(f.is_relative_to(i) for f in folders for i in installed):
        return []
    return folders


@functools.cache
def _text(place: str) -> str:
    """Return the code of a place as text in which only what computes is left."""
    module, _, name = place.partition(":")
    copies = map(copy.deepcopy, _parsed(module).statements(name))
    return "\n".join(ast.dump(_Silent().visit(statement)) for statement in copies)


class _Silent(ast.NodeTransformer):
    """Transformer that removes docstrings, and the words of errors, warnings and assertions."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
        return super().generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func) == "warnings.warn":
            node.args, node.keywords = [], []
        return self.generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
