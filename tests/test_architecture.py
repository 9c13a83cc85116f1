"""The rules of the house: sizes, names, who may import whom. There is no list of exceptions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from statistics import median

import pytest

from tests.sources import PRODUCT, ROOT, Source, length, nesting, parameters, read_committed, read_sources, words

FORBIDDEN_WORDS = {"manager", "handler", "helper", "util", "utils", "service", "info", "base"}
SQL_PACKAGES = {"sqlalchemy", "sqlite3", "pysqlite3", "psycopg", "alembic"}
SQL_TEXT = re.compile(
    r"^\s*(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|PRAGMA\s|"
    r"(CREATE|DROP|ALTER)\s+(TABLE|INDEX|UNIQUE)\s)",
    re.DOTALL,
)
LITELLM_FILE = "backend/upstream/litellm_client.py"
PAGES_MAY_IMPORT = ("backend.reports", "backend.actions", "backend.settings", "backend.replay")
REGISTRIES = re.compile(
    r"py[p]i\.org|python[h]osted\.org|npm[j]s\.org|(^|\s)--(extra-)?index[-]url|(^|\s)--find[-]links"
)
MACHINE_PATHS = re.compile(r"(?<![\w.$}*-])/(root|home|Users|work|opt/p[y]pi)/\w")
TEST_ONLY_FOLDERS = {"contract", "browser", "faults", "pages", "db"}


def expect_none(offences: Iterable[str], remedy: str) -> None:
    found = sorted(offences)
    assert not found, f"{len(found)} found; {remedy}:\n  " + "\n  ".join(found)


def test_no_function_is_longer_than_40_lines() -> None:
    offences = [
        f"{source.at(function.lineno)} {function.name}: {length(function)} lines"
        for source in read_sources()
        for function in source.functions
        if length(function) > 40
    ]
    expect_none(offences, "split along a concept, at most 40 lines each")


def test_the_median_function_has_at_most_10_lines() -> None:
    lengths = [length(function) for source in read_sources() for function in source.functions]
    assert median(lengths) <= 10


def test_no_function_takes_more_than_5_parameters() -> None:
    offences = [
        f"{source.at(function.lineno)} {function.name}: {parameters(function)} parameters"
        for source in read_sources()
        for function in source.functions
        if parameters(function) > 5
    ]
    expect_none(offences, "pass one object that holds what belongs together")


def test_no_file_is_longer_than_300_lines() -> None:
    offences = [f"{source.path}: {source.lines} lines" for source in read_sources() if source.lines > 300]
    expect_none(offences, "split along a concept, at most 300 lines each")


def test_no_block_is_nested_deeper_than_3() -> None:
    offences = [
        f"{source.at(function.lineno)} {function.name}: {nesting(function)} deep"
        for source in read_sources()
        for function in source.functions
        if nesting(function) > 3
    ]
    expect_none(offences, "return early or name the inner block")


def test_no_folder_under_backend_is_deeper_than_2() -> None:
    offences = [s.path for s in read_sources("backend") if len(PurePosixPath(s.path).parents) - 2 > 2]
    expect_none(offences, "a folder is a concept, not a drawer: at most backend/a/b/")


def test_names_say_what_a_thing_is() -> None:
    offences = [
        f"{where}: {name}"
        for source in read_sources()
        for where, name in _names(source)
        if words(name) & FORBIDDEN_WORDS
    ]
    expect_none(offences, f"none of {', '.join(sorted(FORBIDDEN_WORDS))} in the name of a module, class or function")


def _names(source: Source) -> Iterable[tuple[str, str]]:
    yield source.path, PurePosixPath(source.path).stem
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield source.at(node.lineno), node.name


def test_only_db_speaks_sql() -> None:
    sources = [source for source in read_sources(*PRODUCT, "benchmarks") if not source.within("db")]
    imported = [
        f"{source.at(line)} imports {name}"
        for source in sources
        for line, name in source.imports
        if name.partition(".")[0] in SQL_PACKAGES
    ]
    written = [
        f"{s.at(line)} {text.strip()[:60]!r}" for s in sources for line, text in s.strings if SQL_TEXT.match(text)
    ]
    expect_none([*imported, *written], "queries are functions of db/")


def test_litellm_is_imported_by_one_file_and_only_when_needed() -> None:
    strays = [
        f"{source.at(line)} imports {name}"
        for source in read_sources()
        for line, name in source.imports
        if name.partition(".")[0] == "litellm" and source.path != LITELLM_FILE
    ]
    by_name = [
        f"{source.at(node.lineno)} {ast.unparse(node)}"
        for source in read_sources(*PRODUCT)
        for node in source.nodes
        if isinstance(node, ast.Call) and re.match(r"[\w.]*(import_module|__import__)\('litellm", ast.unparse(node))
    ]
    eager = [s.at(node.lineno) for s in read_sources("backend") for node in s.tree.body if _imports(node, "litellm")]
    expect_none([*strays, *by_name, *eager], f"only {LITELLM_FILE} imports litellm, inside a function")


def _imports(node: ast.stmt, package: str) -> bool:
    inner = [found for found in ast.walk(node) if isinstance(found, ast.Import | ast.ImportFrom)]
    named = [getattr(found, "module", None) or found.names[0].name for found in inner]
    return not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and any(
        name.partition(".")[0] == package for name in named
    )


def test_the_console_reaches_the_backend_through_four_doors() -> None:
    offences = [
        f"{source.at(line)} imports {name}"
        for source in read_sources("app.py", "pages")
        for line, name in source.imports
        if name.partition(".")[0] in {"db", "backend"} and not name.startswith(PAGES_MAY_IMPORT)
    ]
    expect_none(offences, f"app.py and pages import only {', '.join(PAGES_MAY_IMPORT)}")


def test_nothing_that_hides_disconnects_or_runs_data_is_used() -> None:
    unsafe = {"pickle", "marshal", "shelve", "joblib", "dill"}
    imported = [
        f"{source.at(line)} imports {name}"
        for source in read_sources()
        for line, name in source.imports
        if name.partition(".")[0] in unsafe or name.endswith("BaseHTTPMiddleware")
    ]
    called = [
        f"{source.at(node.lineno)} {ast.unparse(node.func)}()"
        for source in read_sources()
        for node in source.nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"eval", "exec", "yaml.load", "yaml.unsafe_load"}
    ]
    expect_none([*imported, *called], "data is parsed, never run")


def test_money_never_meets_a_float() -> None:
    offences = [
        f"{source.at(getattr(node, 'lineno', 0))} {ast.unparse(node)}"
        for source in read_sources("backend/pricing")
        for node in source.nodes
        if _makes_float(node)
    ]
    expect_none(offences, "integers of nano-dollars; divide with // or Decimal")


def _makes_float(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        path = isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)
        return isinstance(node.op, ast.Div) and not path
    if isinstance(node, ast.Constant):
        return isinstance(node.value, float)
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "float"


@pytest.mark.parametrize("pattern", [REGISTRIES, MACHINE_PATHS], ids=["registry addresses", "machine paths"])
def test_no_committed_file_names_one_machine_or_registry(pattern: re.Pattern[str]) -> None:
    offences = [
        f"{path}:{number} {line.strip()[:80]}"
        for path, text in read_committed()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    expect_none(offences, "a clone must work anywhere, against any registry")


def test_every_settings_section_has_a_stage_or_a_page_of_its_name() -> None:
    sections = {path.stem for path in (ROOT / "backend/settings/knobs").glob("*.py")} - {"__init__", "section"}
    homes = {path.name for path in (ROOT / "backend").iterdir() if path.is_dir()}
    homes |= {path.stem for path in (ROOT / "pages").rglob("*.py")}
    expect_none(sections - homes, "one noun everywhere: backend/<noun>/ or a page <noun>.py")


def test_every_settings_section_is_declared_in_the_file_of_its_name() -> None:
    source = next(s for s in read_sources("backend/settings") if s.path.endswith("knobs/__init__.py"))
    root = next(node for node in source.nodes if isinstance(node, ast.ClassDef) and node.name == "Settings")
    fields = {
        node.target.id for node in root.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    files = {path.stem for path in (ROOT / "backend/settings/knobs").glob("*.py")} - {"__init__", "section"}
    assert fields == files


def test_tests_mirror_the_packages() -> None:
    packages = {path.parent.name for path in (ROOT / "backend").glob("*/__init__.py")}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    untested = [f"backend/{name} has no tests/{name}/test_*.py" for name in packages if not _tests(name)]
    strays = [f"tests/{name} mirrors nothing" for name in folders - packages - TEST_ONLY_FOLDERS]
    expect_none([*untested, *strays], "tests/x/test_y.py is the test of backend/x/y.py")


def _tests(package: str) -> bool:
    return any((ROOT / "tests" / package).glob("test_*.py"))
