"""The blocks of README.md that come from the code: the tree, the knobs, the environment."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from backend.cli.type_names import inner_model, name_bounds, name_default, name_type
from backend.environment import Environment
from backend.settings.knobs import Settings

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TOP = ("app.py", "pages", "backend", "db", "tests", "benchmarks", "docker")


def render(text: str) -> str:
    """The README with every generated block made anew; raises ``LookupError`` when a block's markers are missing."""
    for name, draw in BLOCKS.items():
        marked = re.compile(rf"(<!-- {name}: begin[^\n]*-->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        fresh, count = marked.subn(lambda found, draw=draw: found[1] + draw() + found[2], text)  # type: ignore[misc]
        if count != 1:
            raise LookupError(f"README.md has {count} blocks marked {name!r}, expected one")
        text = fresh
    return text


def draw_tree() -> str:
    """Two levels of the repository, each line the first line of its docstring."""
    rows = [row for name in TOP if (ROOT / name).exists() for row in _rows(ROOT / name)]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:<{width}}{purpose}".rstrip() for name, purpose in rows]
    return "\n".join(["```", *lines, "```", ""])


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    yield f"{path.name}{'/' if path.is_dir() else ''}", purpose(path)
    if path.is_dir():
        for entry in sorted(path.iterdir(), key=lambda entry: (entry.is_file(), entry.name)):
            if _belongs(entry) and purpose(entry):  # a folder of tests says nothing its package does not say
                yield f"  {entry.name}{'/' if entry.is_dir() else ''}", purpose(entry)


def _belongs(entry: Path) -> bool:
    if entry.is_dir():  # an empty folder is not in anybody else's clone
        written = (path for path in entry.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return entry.name not in {"__pycache__", "results", "secrets"} and any(written)
    return entry.suffix == ".py" and entry.name != "__init__.py"


def purpose(path: Path) -> str:
    """First line of a module's or package's docstring, without its full stop; empty where there is none."""
    source = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(source.read_text())) if source.exists() else _comment(path / "compose.yml")
    return docstring.splitlines()[0].removesuffix(".") if docstring else ""


def _comment(path: Path) -> str | None:
    """The comment a file opens with: what a folder without Python says of itself."""
    return path.read_text().partition("\n")[0].removeprefix("# ") if path.exists() else None


def draw_knobs() -> str:
    """One table row for every knob of every section, in the order a call meets them."""
    rows = ["| knob | type | default | bounds | applies | what it does |", "|---|---|---|---|---|---|"]
    rows += [_knob_row(path, knob) for path, knob in _knobs(Settings)]
    return "\n".join([*rows, ""])


def _knobs(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every knob below a section with its path; an inner document adds its own, those of a list under ``[]``."""
    for name, field in section.model_fields.items():
        inner = inner_model(field.annotation)
        if inner is None or prefix:
            yield f"{prefix}{name}", field
        if inner is not None:
            mark = "[]." if name_type(field.annotation).startswith("list of") else "."
            yield from _knobs(inner, f"{prefix}{name}{mark}")


def _knob_row(path: str, knob: FieldInfo) -> str:
    extra = knob.json_schema_extra if isinstance(knob.json_schema_extra, dict) else {}
    applies = str(extra.get("applies", "at once"))
    cells = [f"`{path}`", name_type(knob.annotation), name_default(knob), name_bounds(knob), applies]
    return _table_row([*cells, knob.description or knob.title or ""])


def draw_environment() -> str:
    """One table row for every variable a process reads when it starts."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Environment.model_fields.items():
        default = "" if field.default in {None, PydanticUndefined} else f"`{field.default}`"
        rows.append(_table_row([f"`GOVERNOR_{name.upper()}`", default, field.description or ""]))
    return "\n".join([*rows, ""])


def _table_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


BLOCKS: dict[str, Callable[[], str]] = {"tree": draw_tree, "knobs": draw_knobs, "environment": draw_environment}


def main() -> None:
    """Write README.md anew; says whether anything changed."""
    before = README.read_text()
    after = render(before)
    README.write_text(after)
    sys.stdout.write("README.md is up to date\n" if after == before else "README.md regenerated\n")


if __name__ == "__main__":
    main()
