"""What the configuration syntax lets through, and where it says that something is wrong."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp import hcl
from usp.errors import UspError


def problems(text: str) -> list[str]:
    with pytest.raises(UspError) as caught:
        hcl.parse(text, "F")
    assert caught.value.code == "settings.invalid"
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# nothing\n// at\n/* all */\n", {}),
        ("a = 1", {"a": 1}),
        ("a = -1\nb = -12", {"a": -1, "b": -12}),
        ("a = 1.5\nb = -2.5e3", {"a": 1.5, "b": -2500.0}),
        ("a = true\nb = false\nc = null", {"a": True, "b": False, "c": None}),
        ('a = ""', {"a": ""}),
        (r'a = "\"\\\n\r\t\u00e9\U0001F600"', {"a": '"\\\n\r\té😀'}),
        ('a = "$${x} %%{y} $5 100%"', {"a": "${x} %{y} $5 100%"}),
        ('a = "http://x/#y" # z', {"a": "http://x/#y"}),
        ("a = []\nb = [1, [2],\n # three\n 3,\n]", {"a": [], "b": [1, [2], 3]}),
        ('a = {b = 1, "c" : 2\n d = 3\n in = 4\n}', {"a": {"b": 1, "c": 2, "d": 3, "in": 4}}),
        ("a {\n}\nb { c = 1 }", {"a": {}, "b": {"c": 1}}),
        ("a {\r\n b {\r\n c = 1\r\n }\r\n}\r\n", {"a": {"b": {"c": 1}}}),
        ("a = <<END\n  x\n $${y}\nEND\nb = 1", {"a": "  x\n ${y}\n", "b": 1}),
        ("a = <<-END\n    x\n\n      y\n  END\n", {"a": "x\n\n  y\n"}),
        ("a = <<END\nEND\n", {"a": ""}),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert hcl.parse(text).plain() == value


def test_every_value_knows_its_place() -> None:
    root = hcl.parse('x = 1\n\nlog {\n  level = "INFO"\n  list = [\n    1,\n    2]\n}\n')
    assert isinstance(root.value, dict)
    log = root.value["log"]
    assert (log.line, log.column, log.block) == (3, 1, True)
    assert isinstance(log.value, dict)
    level, list_ = log.value["level"], log.value["list"]
    assert (level.line, level.column, level.block) == (4, 3, False)
    assert isinstance(list_.value, tuple)
    assert [(item.line, item.column) for item in list_.value] == [(6, 5), (7, 5)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 1\na = 2", "F:2:1: a: is here twice, first in line 1"),
        ("a {\n}\n\na {\n}", "F:4:1: a: is here twice, first in line 1"),
        ("a = 1\na {\n}", "F:2:1: a: is here twice, first in line 1"),
        ("b {\n  a = 1\n  a = 1\n}", "F:3:3: b.a: is here twice, first in line 2"),
        ("a = {b = 1, b = 2}", "F:1:1: a: has 'b' twice"),
        ("a = 1 b = 2", "F:1:7: b: stands behind another argument (one argument or block per line)"),
        ('a "label" {\n}', "F:1:1: a: has a label (write a { ... })"),
        ('a = "${b}"', "F:1:1: a: contains ${...} (only literal values are allowed; write $${ for the"),
        ('a = "%{if b}c%{endif}"', "F:1:1: a: contains a template (only literal values are allowed; write %%{"),
        ("a = <<E\n${b}\nE\n", "F:1:1: a: contains a template"),
        ("a = b", "F:1:1: a: is a bare word (put text in double quotes)"),
        ("a = b()", "F:1:1: a: is a function call (only literal values are allowed)"),
        ("a = 1 + 2", "F:1:1: a: is an expression (only literal values are allowed)"),
        ("a = (1)", "F:1:1: a: is an expression"),
        ("a = b.c", "F:1:1: a: is an expression"),
        ("a = b ? 1 : 2", "F:1:1: a: is an expression"),
        ("a = !true", "F:1:1: a: is an expression"),
        ("a = -true", "F:1:1: a: is an expression"),
        ('a = -"x"', "F:1:1: a: is an expression"),
        ("a = [for b in c : b]", "F:1:1: a: is an expression"),
        ("a = {(b) = 1}", "F:1:1: a: has a key that is not a name"),
        ("a = {1 = 1}", "F:1:1: a: has a key that is not a name"),
        ("a = [1, b()]", "F:1:9: a.1: is a function call"),
        ("a = {b = c}", "F:1:6: a.b: is a bare word"),
        (r'a = "\q"', r"F:1:1: a: contains the unknown escape \q (known are"),
        (r'a = "\u0000"', r"F:1:1: a: contains \u0000, which is not a character"),
        (r'a = "\uD800"', r"F:1:1: a: contains \uD800, which is not a character"),
        (r'a = "\UFFFFFFFF"', r"F:1:1: a: contains \UFFFFFFFF, which is not a character"),
        ('a = "b\nc"', "F:1:1: a: is a string that does not end on its line (is a double quote missing?)"),
        ("a = 1e999", "F:1:1: a: is not a finite number"),
        ("a = " + "9" * 41, "F:1:1: a: has more than 40 digits"),
        ("a = " + "[" * 17 + "]" * 17, "F:1:21: a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0: is nested deeper than 16"),
        ("a {\n" * 17 + "}\n" * 17, f"F:17:1: {'.'.join('a' * 17)}: is nested deeper than 16"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    assert problems(text)[0].startswith(problem)


def test_all_problems_are_told_at_once() -> None:
    assert len(problems('a = b\nc = "${d}"\na = 1\ne "f" {\n g = h()\n}\n')) == 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a =", "F:1:4: syntax error: the line ends here, where a value should be"),
        ("a = @", "F:1:5: syntax error: unexpected '@', where a value should be"),
        ("a == 1", "F:1:3: syntax error: unexpected '==', where = or { should be"),
        ("a\n", "F:2:1: syntax error: the file ends here, where = or { should be"),
        ("a {\n b = 1", "F:2:7: syntax error: the file ends here, where the line should end or a } should be"),
        ("a = [1", "F:1:7: syntax error: the file ends here, where , or ] should be"),
        ("a = b(1", "F:1:8: syntax error: the file ends here, where , or ) should be"),
        ("}", "F:1:1: syntax error: unexpected '}', where an argument, a block or the end of the file should be"),
        ("a = 1 2", "F:1:7: syntax error: unexpected '2', where the line should end or a } should be"),
        ("a {b = 1, c = 2}", "F:1:9: syntax error: unexpected ',', where the line should end or a } should be"),
        ('a = 1\nb = "x\nc = "y"\n', "F:2:5: a string is not closed on its line (is a double quote missing?)"),
        ('# don"t\na = @', "F:2:5: syntax error"),
        (
            'database.engine = "oracle"',
            "F:1:9: database.engine: is not HCL (write a block: database { engine = ... })",
        ),
        ('web {\n  tls.cert = "x"\n}', "F:2:6: tls.cert: is not HCL (write a block: tls { cert = ... })"),
    ],
)
def test_syntax_errors_have_a_place_and_a_hint(text: str, problem: str) -> None:
    assert problems(text)[0].startswith(problem)


def test_blocks_with_labels_by_name() -> None:
    root = hcl.parse('a "x" { n = 1 }\na "y" { n = 2 }\nb { n = 3 }\n', labelled=["a"])
    assert root.plain() == {"a": {"x": {"n": 1}, "y": {"n": 2}}, "b": {"n": 3}}
    with pytest.raises(UspError) as caught:
        hcl.parse('b "x" { n = 3 }\na { n = 1 }\n', "F", labelled=["a"])
    assert [str(problem) for problem in caught.value.problems] == [
        "F:1:1: b: has a label (write b { ... })",
        'F:2:1: a: has no label (write a "NAME" { ... })',
    ]


def test_labelled_blocks() -> None:
    text = 'rule "a" {\n x = 1\n}\nother = 2\nrule b {\n}\nrule "c d" { y { z = 3 } }\n'
    root = hcl.parse(text, labelled=True)
    assert root.plain() == {"rule": {"a": {"x": 1}, "b": {}, "c d": {"y": {"z": 3}}}, "other": 2}
    assert isinstance(root.value, dict)
    rules = root.value["rule"]
    assert isinstance(rules.value, dict)
    assert [(node.line, node.column) for node in rules.value.values()] == [(1, 1), (5, 1), (7, 1)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rule {\n}", 'F:1:1: rule: has no label (write rule "NAME" { ... })'),
        ('rule "a" "b" {\n}', 'F:1:1: rule: has more than one label (write rule "NAME" { ... })'),
        ('rule "a" {\n}\nrule "a" {\n}', "F:3:1: rule.a: is here twice, first in line 1"),
        ('rule "a" {\n}\nrule = 1', "F:3:1: rule: is here twice, first in line 1"),
        ('rule = 1\nrule "a" {\n}', "F:2:1: rule: is here twice, first in line 1"),
        ('rule "${a}" {\n}', "F:1:1: rule: "),
        ('rule "a" {\n x "y" {\n }\n}', "F:2:2: rule.a.x: has a label (write x { ... })"),
    ],
)
def test_labelled_blocks_that_are_refused(text: str, problem: str) -> None:
    with pytest.raises(UspError) as caught:
        hcl.parse(text, "F", labelled=True)
    assert str(caught.value.problems[0]).startswith(problem)


@given(st.text(alphabet='ab=[]{}()"\\#/*.,:+-$%\n\r <!?01é\x00', max_size=60))
def test_any_text_gives_values_or_problems(text: str) -> None:
    with contextlib.suppress(UspError):
        hcl.parse(text)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40))
def test_any_string_can_be_written(text: str) -> None:
    quoted = "".join(f"\\U{ord(character):08x}" for character in text)
    assert hcl.parse(f'a = "{quoted}"').plain() == {"a": text}


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.hcl"
    file.write_bytes(b"\xef\xbb\xbfa = 1\n")  # with a byte order mark
    assert hcl.read(file).plain() == {"a": 1}


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UspError, match="No such file") as caught:
        hcl.read(tmp_path / "missing")
    assert caught.value.code == "settings.unreadable"
    file = tmp_path / "x.hcl"
    file.write_bytes(b"a = 1\nb = \xff\n")
    with pytest.raises(UspError, match=r"x\.hcl:2:5: is not UTF-8 text"):
        hcl.read(file)
    file.write_bytes(b"#" * (hcl.MAX_BYTES + 1))
    with pytest.raises(UspError, match="is larger than 1048576 bytes"):
        hcl.read(file)


def test_running_the_module_warms_the_grammar_cache() -> None:
    subprocess.run([sys.executable, "-m", "usp.hcl"], check=True, cwd=Path(__file__).parents[2])
