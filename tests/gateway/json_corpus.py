"""JSON texts that a strict parser must take or refuse, in the manner of JSONTestSuite; made here, none copied."""

from __future__ import annotations

from collections.abc import Iterator

_NUMBERS = (
    "0 -0 1 -1 9007199254740993 -9223372036854775809 123456789012345678901234567890 0.0 -0.0 1.5 1e5 1E5 1e+5 1E-5"
)
_NUMBERS += " 0e1 0E+1 0e-0 1.0e10 -1.25E-3 1e-999 0.1000000000000000055511151231257827 1e308 -1e308 123e-10000"
_SOUND_STRINGS = (
    "", " ", "a", "/", "\\/", "\\\\", '\\"', "\\b\\f\\n\\r\\t", "\\u0000", "\\u001f", "\\u0020", "\\u002c",
    "\\uABCD", "\\uabcd", "\\ud834\\udd1e", "\\uD83D\\ude39\\uD83D\\uDE3B", "\\uFFFF", "\\uFDD0",
    "\\u200b\\ufeff", "\\u2028", "\\udbff\\udfff", "é", "€", "𝄞", "\u2028\u2029", "\u007f", "\ufffd", "\uffff",
    "\U0010ffff", "//", "/* */", "#", "'", "NaN", "{[", "]}", '{\\"a\\":1,\\"a\\":2}', "\\\\ud800",
    "\\\\\\\\ud800", "x" * 5000,
)  # fmt: skip
_SOUND_WHOLES = (
    "[]", "[ ]", "{}", "{ }", "[1]", "[1,2]", "[[]]", "[[],[[]]]", '[null,true,false,0,"",[],{}]', '{"a":1}',
    '{"":0}', '{"a":{"b":[{"c":null}]}}', '{"a":1,"A":2}', '{"a":1,"a ":2}', '{"\\u0000":1}', '{"a":[1],"b":[1]}',
    '{"x":{"a":1},"y":{"a":1}}', "[\n]", "[\t1\r\n,\n2 ]", '\n{"a"\t:\r1}', "[ 1 , 2 ]", "[" * 50 + "]" * 50,
    '{"a":' * 50 + "1" + "}" * 50, "true", "false", "null", '{"__proto__":1,"constructor":2}', '{"é":1,"e\u0301":2}',
)  # fmt: skip
_BAD_NUMBERS = (
    "01", "-", "+1", "-01", ".5", "-.5", "1.", "1.e5", "1e", "1e+", "1E-", "0x1", "0b1", "0o7", "1_000", "--1",
    "+-1", "1eE2", "0.1.2", "1e1e1", "\u0661", "\uff11", "\u00bd", "Infinity", "-Infinity", "+Infinity", "NaN",
    "-NaN", "nan", "inf", "-inf", "1e999", "-1e999", "1e400", "1.8e308", "- 1", "1 000", "0e", "0E+", "2.e3",
    "1a", "1f", "1L", "0x", "-foo", "1e0.5", "00", "-00.1", "0 1", "9" * 400 + "e400", "'1'", "1\u00a0", "∞",
    "1e\uff15", "1.\uff15",
)  # fmt: skip
_BAD_STRINGS = (
    "\\x41", "\\a", "\\0", "\\v", "\\'", "\\e", "\\ ", "\\U0041", "\\u", "\\u1", "\\u12", "\\u123", "\\u12G4",
    "\\u-123", "\\u 123", "\\u+123", "\\u00e", "\\uqqqq", "\\", "\\\\\\", "\\é", "\\ud800", "\\udfff",
    "\\udc00\\ud800", "\\ud800a", "\\ud800\\ud800", "\\ud800\\n", "\\ud83d\\u0041", "a\\ud800",
    "\\uD800\\\\uDC00", "\\uDBFF\\uDBFE", '"', 'a"b',
)  # fmt: skip
_BAD_BYTES = (
    b"\xff", b"\xfe\xff", b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xb0\x80",
    b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82",
    b"\xe9", b"\xc3", b"\xed\xa0\x80\xed\xb0\x80", b"a\xbf", b"\xf0\x9f\x98", b"\xa0",
    b"\xfc\x80\x80\x80\x80\x80",
)  # fmt: skip
_BAD_WHOLES = (
    "[,]", "[1,]", "[,1]", "[1 2]", "[1,,2]", "[", "[1", "[1,", '["a"', "[}", "[1:2]", "[]]", "]", "[1]]",
    "[*]", "[x]", "{,}", '{"a":1,}', '{"a"}', '{"a":}', "{:1}", "{a:1}", "{'a':1}", '{"a":1 "b":2}', '{"a" 1}',
    '{"a":1,,"b":2}', "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', "}", '{"a":1}}', "{1:1}", "{null:1}",
    '{"a":1;}', '{"a"=1}', '{"a"::1}', "{[]:1}", '{"a":1,"a":1}', '{"a":1,"a":2}', '{"a":1,"\\u0061":2}',
    '{"b":{"a":1,"a":1}}', '[{"a":1,"a":{}}]', '{"":1,"":2}', '{"é":1,"\\u00e9":2}', "True", "TRUE", "nul",
    "nulll", "truee", "undefined", "None", "fals", "//", "#", "/* */1", "1/**/", "1 // x", "<!-- -->", "1;",
    "1#", "1 1", "\x0c1", "\x0b1", "\u00a01", "\ufeff1", "\u200b1", "\x001", "1\x00", "\u20281", "'a'", "`a`",
    "“a”", '"a', 'a"', '"a""b"', "b'a'", '"a"x', "&quot;a&quot;", "@", "", " ", "$", ":",
)  # fmt: skip


def sound_values() -> Iterator[bytes]:
    """JSON values that a strict parser takes."""
    for text in (*_NUMBERS.split(), *(f'"{text}"' for text in _SOUND_STRINGS), *_SOUND_WHOLES):
        yield text.encode()


def bad_values() -> Iterator[bytes]:
    """What is no JSON value, or one that has two readings."""
    for text in (*_BAD_NUMBERS, *(f'"{text}"' for text in _BAD_STRINGS), *_BAD_WHOLES):
        yield text.encode("utf-8", "surrogatepass")
    for code in range(0x20):
        yield b'"a%cb"' % code
    for raw in _BAD_BYTES:
        yield b'"%b"' % raw
        yield b'{"%b":1}' % raw


PLACES = {
    "field": b'{"model":"fake/ok","messages":[{"role":"user","content":"x"}],"x_extra":%b}',
    "first": b'{"x_extra":%b,"model":"fake/ok","messages":[{"role":"user","content":"x"}]}',
    "message": b'{"model":"fake/ok","messages":[{"role":"user","content":"x","x_extra":%b}]}',
    "metadata": b'{"model":"fake/ok","messages":[{"role":"user","content":"x"}],"x_meta":{"deep":[1,%b,2]}}',
}
"""Where a value stands in a request that is sound but for it."""

BAD_BODIES = (
    b"", b" ", b"null", b"true", b"5", b'"text"', b"[]", b'[{"model":"m"}]', b"{} {}", b"{},", b"{}]",
    b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"{}\x00", b"{}x", b"\x00", b"{" * 10, b"}", b"%s", b"<xml/>",
    b"model=m&stream=true", b"\r\n\r\n", b"\x1f\x8b\x08", b'{"model":"m"', b"GET / HTTP/1.1\r\n\r\n",
)  # fmt: skip


def nested(depth: int, kind: str) -> bytes:
    """A value that many levels deep; `open` kinds never close."""
    if kind.startswith("array"):
        text = b"[" * depth
        return text if kind.endswith("open") else text + b"]" * depth
    text = b'{"a":' * depth
    return text if kind.endswith("open") else text + b"1" + b"}" * depth
