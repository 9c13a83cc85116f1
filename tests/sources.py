"""The repository's own Python files, parsed once, for the tests that judge their shape."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("app.py", "pages", "backend", "db")
TREES = (*PRODUCT, "tests", "benchmarks")
COMMITTED = (*TREES, "docker", "requirements", ".ci", ".streamlit", ".env.example", ".gitignore")

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Source:
    """One Python file: where it is, what it says, its syntax tree."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree))

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def functions(self) -> Iterator[Function]:
        return (node for node in self.nodes if isinstance(node, Function))

    @property
    def imports(self) -> Iterator[tuple[int, str]]:
        """Each imported module as (line, dotted name); `from a import b` counts as a.b."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)

    @property
    def strings(self) -> Iterator[tuple[int, str]]:
        """Each string that is not a docstring, as (line, value)."""
        docstrings = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        for node in self.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield node.lineno, node.value

    def within(self, *folders: str) -> bool:
        """Whether the file lies in, or is, one of these paths from the root."""
        return any(self.path == folder or self.path.startswith(f"{folder}/") for folder in folders)

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"


@cache
def read_sources(*trees: str) -> tuple[Source, ...]:
    """Every Python file under these top-level names, in path order."""
    paths = sorted(path for tree in trees or TREES for path in _python_files(ROOT / tree))
    return tuple(Source(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths)


def read_committed() -> Iterator[tuple[str, str]]:
    """Every text file that belongs to the repository, as (path, text)."""
    loose = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")]
    for path in (*loose, *(path for name in COMMITTED for path in _files(ROOT / name))):
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text()
        except UnicodeDecodeError:
            continue


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    skipped = {"node_modules", "__pycache__", "results", "secrets"}
    return [found for found in path.rglob("*") if found.is_file() and not skipped & set(found.parts)]


def _python_files(path: Path) -> list[Path]:
    return [found for found in _files(path) if found.suffix == ".py"]


def nesting(node: ast.AST) -> int:
    """How many blocks stand inside each other; `elif` is no deeper than its `if`, a nested function starts anew."""
    return max((_child_depth(node, child) for child in ast.iter_child_nodes(node)), default=0)


def _child_depth(parent: ast.AST, child: ast.AST) -> int:
    if isinstance(child, SCOPES):
        return 0
    chained = isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.orelse == [child]
    return nesting(child) + (isinstance(child, BLOCKS) and not chained)


def length(function: Function) -> int:
    """Lines from `def` to the last statement, decorators not counted."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def parameters(function: Function) -> int:
    """How many parameters a caller sees: all but self and cls."""
    listed = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    listed += [extra for extra in (function.args.vararg, function.args.kwarg) if extra]
    return sum(parameter.arg not in {"self", "cls"} for parameter in listed)


def words(name: str) -> set[str]:
    """The words a name is made of: snake_case and CamelCase are split, plurals too."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    return {word for part in split for word in (part, part.removesuffix("s"))}
