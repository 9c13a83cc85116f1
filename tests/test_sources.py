"""The measures behind the house rules, on functions whose measure is known."""

from __future__ import annotations

import ast
import textwrap

import pytest

from tests.sources import Source, length, nesting, parameters, words


def only_function(text: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    return next(Source("x.py", textwrap.dedent(text)).functions)


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        ("pass", 0),
        ("if a: pass", 1),
        ("for a in b:\n    with c:\n        if d: pass", 3),
        ("if a: pass\nelif b: pass\nelif c: pass", 1),
        ("if a: pass\nelse:\n    if b: pass\n    c()", 2),
        ("for a in b:\n    def f():\n        if c: pass", 1),
        ("try: a()\nexcept E:\n    if b:\n        while c: pass", 3),
    ],
)
def test_nesting_counts_blocks_inside_blocks(body: str, depth: int) -> None:
    assert nesting(only_function("def f():\n" + textwrap.indent(body, "    "))) == depth


def test_length_counts_from_def_and_leaves_decorators_out() -> None:
    assert length(only_function("@a\n@b\ndef f():\n    x = 1\n    return x\n")) == 3


def test_parameters_leave_self_out_and_count_every_kind() -> None:
    assert parameters(only_function("def f(self, a, /, b, *c, d=1, **e): pass")) == 5


def test_words_split_snake_and_camel_case_and_plurals() -> None:
    assert {"call", "handler"} <= words("CallHandlers")
    assert {"base", "url"} <= words("base_url")
    assert "base" not in words("database")


def test_imports_name_what_is_imported_from_where() -> None:
    source = Source("x.py", "import a.b\nfrom c.d import e\n")
    assert list(source.imports) == [(1, "a.b"), (2, "c.d.e")]


def test_strings_leave_docstrings_out() -> None:
    source = Source("x.py", '"""SELECT a FROM b."""\nx = "kept"\n')
    assert list(source.strings) == [(2, "kept")]
