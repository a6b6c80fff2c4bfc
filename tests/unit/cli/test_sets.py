"""Sets of items in three formats: one shape, the places of mistakes, and back again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usp.cli.sets import MAX_BYTES, Text, collect, files, format_of, read, singular, written
from usp.errors import Problem, UspError
from usp.model import KINDS

HCL = """\
# the gateway
ip_filter "office" {
  allow = ["192.0.2.0/24"]
}
ip-filters "all" {}
private_key "host" {
  generate = "ed25519"
}
"""
YAML = """\
# the gateway
ip-filters:
  - name: office
    allow: [192.0.2.0/24]
  - {name: all}
private_key:
  host:
    generate: ed25519
"""
ITEMS: dict[str, list[dict[str, Any]]] = {
    "ip-filters": [{"name": "office", "allow": ["192.0.2.0/24"]}, {"name": "all"}],
    "private-keys": [{"name": "host", "generate": "ed25519"}],
}
LISTED = [{"kind": kind, **fields} for kind, items in ITEMS.items() for fields in items]


def items(text: str, format: str = "") -> dict[str, list[dict[str, Any]]]:
    return collect([Text("F", format or format_of(text), text)]).items


def problems(text: str, format: str = "") -> list[str]:
    with pytest.raises(UspError) as caught:
        items(text, format)
    assert caught.value.code == "settings.invalid"
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        HCL,
        YAML,
        json.dumps(ITEMS),
        json.dumps({"items": ITEMS}),
        json.dumps({"items": LISTED}),
        json.dumps(LISTED),
        "items:\n" + "".join(f"  {line}\n" for line in YAML.splitlines()),
    ],
)
def test_one_shape(text: str) -> None:
    assert items(text) == ITEMS


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "[]", "items:\n"])
def test_nothing(text: str) -> None:
    assert items(text) == {}


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (HCL, "hcl"),
        (YAML, "yaml"),
        ("  \n[]", "json"),
        ("{", "json"),
        ("rule = 1", "hcl"),
        ("- a", "yaml"),
        ("// x\nrule x {", "hcl"),
    ],
)
def test_formats_are_told_apart(text: str, format: str) -> None:
    assert format_of(text) == format


def test_several_files_are_one_set(tmp_path: Path) -> None:
    (tmp_path / "a.hcl").write_text(HCL)
    (tmp_path / "b.yml").write_text("\ufeffrules: [{name: r}]", encoding="utf-8")
    texts = [read(str(tmp_path / name), str) for name in ("a.hcl", "b.yml")] + [read("-", lambda: "[]")]
    assert [text.format for text in texts] == ["hcl", "yaml", "json"]
    found = collect(texts)
    assert found.items == {**ITEMS, "rules": [{"name": "r"}]}
    problem = found.located(Problem(("items", "rules", 0, "inbound_method"), "is required"))
    assert str(problem) == f"{tmp_path / 'b.yml'}:1:9: rules.r.inbound_method: is required"


def test_a_directory_is_its_files(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.hcl", "README.md", "c.json"):
        (tmp_path / name).touch()
    (tmp_path / "d.json").mkdir()
    assert files(str(tmp_path)) == [str(tmp_path / name) for name in ("a.hcl", "b.yaml", "c.json")]
    assert [files(path) for path in ("-", "nowhere.hcl")] == [["-"], ["nowhere.hcl"]]
    with pytest.raises(UspError, match="there is no"):
        files(str(tmp_path / "d.json"))


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b"#" * (MAX_BYTES + 1))
    for name in ("latin", "large", "none"):
        with pytest.raises(UspError) as caught:
            read(str(tmp_path / name), str)
        assert caught.value.code.startswith("settings.")
        assert str(tmp_path / name) in caught.value.message


# Places


@pytest.mark.parametrize(
    ("text", "loc", "at"),
    [
        (HCL, ("items", "ip-filters", 0, "allow", 0), "F:3:12: ip-filters.office.allow.0"),
        (HCL, ("items", "ip-filters", 0, "default"), "F:2:1: ip-filters.office.default"),
        (HCL, ("items", "ip-filters", 1), "F:5:1: ip-filters.all"),
        (YAML, ("items", "ip-filters", 0, "allow", 0), "F:4:13: ip-filters.office.allow.0"),
        (YAML, ("items", "ip-filters", 1, "name"), "F:5:6: ip-filters.all.name"),
        (YAML, ("items", "private-keys", 0, "generate"), "F:8:5: private-keys.host.generate"),
        (json.dumps({"items": ITEMS}, indent=1), ("items", "ip-filters", 0, "allow", 0), "F:7:6: ip-filters.office"),
        ('[{"kind": "rules",\t"name": "r"}]', ("items", "rules", 0, "name"), "F:1:20: rules.r.name"),
        ('[\n\t{"kind": "rules", "name": "r"}]', ("items", "rules", 0, "name"), "F:2:20: rules.r.name"),
        ('[{"kind": "rules", "name": "\x7f"}]', ("items", "rules", 0, "name"), "F: rules."),
        (HCL, ("items", "rules", 0), "items.rules.0"),
        (HCL, ("prune", "rules", "r"), "prune.rules.r"),
        ('[{"kind": "rules"}]', ("items", "rules", 0, "name"), "F:1:2: rules.0.name"),
    ],
)  # fmt: skip
def test_where_a_mistake_is(text: str, loc: tuple[str | int, ...], at: str) -> None:
    found = collect([Text("F", format_of(text), text)]).located(Problem(loc, "is wrong"))
    assert str(found).startswith(at)


# What is refused


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('toy "x" {\n}', "F:1:1: toy: there is no such kind of item"),
        ("toys:\n  - name: x", "F:1:1: toys: there is no such kind of item"),
        ('{"items": {"toys": []}}', "F:1:12: items.toys: there is no such kind of item"),
        ("rules: 7", "F:1:1: rules: must be a list or an object of items"),
        ("7", "F:1:1: must be a list or an object of items"),
        ("rules:\n  - 7", "F:2:5: rules.0: must be an object of an item's fields"),
        ("- name: x", "F:1:3: 0: must be an object of an item's fields, with its kind"),
        ("rules:\n  r: 7", "F:2:3: rules.r: must be an object of the fields of the item of that name"),
        ('rule "r" {\n  name = "s"\n}', "F:1:1: rule.r: must be an object of the fields of the item of that name"),
        ("rule {\n}", "F:1:1: rule: has no label"),
        ('{"rules": [], "rules": []}', "F: rules: is here twice in an object"),
        ("[1,", "F:1:4: is not JSON: Expecting value"),
        ("rules: []\nrules: []", "F:2:1: is not YAML: 'rules' is here twice"),
        ("rules: &a []\nroutes: *a", "F:2:9: is not YAML: aliases are not taken"),
        ("rules: !x []", "F:1:8: is not YAML: the tag !x is not taken"),
        ("? [a]\n: b", "F:1:3: is not YAML: a key is not a text"),
        ("rules: [", "F:1:9: is not YAML: "),
        ("rules: \x07", "F: is not YAML"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    assert problems(text)[0].startswith(problem)


def test_nested_too_deeply() -> None:
    with pytest.raises(UspError):
        items("[" * 100_000, "json")
    with pytest.raises(UspError):
        items("[" * 2_000, "yaml")


def test_yaml_has_few_surprises() -> None:
    text = (
        "rules:\n- {name: no, a: yes, b: true, c: 'true', d: 012, e: 22:22, f: 1.5, g: 1e3, h: 2026-01-01, i: ~, j: ,"
        ' k: "7", l: -3, m: 0x1F, n: TRUE, o: 1_000, p: .5, q: !!str 7, r: .inf, s: 1.e+1}'
    )
    (found,) = items(text)["rules"]
    assert found == {
        "name": "no", "a": "yes", "b": True, "c": "true", "d": 12, "e": "22:22", "f": 1.5, "g": "1e3",
        "h": "2026-01-01", "i": None, "j": None, "k": "7", "l": -3, "m": "0x1F", "n": True, "o": "1_000", "p": 0.5,
        "q": "7", "r": ".inf", "s": 10.0,
    }  # fmt: skip


# Written again

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
VALUES = st.one_of(
    TEXTS,
    TEXTS.map(lambda text: text + "\n"),
    st.booleans(),
    st.none(),
    st.integers(-(10**9), 10**9),
    st.lists(TEXTS, max_size=3),
    st.fixed_dictionaries({"ciphers": st.lists(TEXTS, max_size=2)}),
)
FIELDS = st.dictionaries(st.sampled_from(["a", "b", "private_key", "x-y"]), VALUES, max_size=4)
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=8)
SETS = st.dictionaries(
    st.sampled_from(sorted(KINDS)),
    st.lists(st.builds(lambda name, fields: {"name": name, **fields}, NAMES, FIELDS), min_size=1, max_size=3,
             unique_by=lambda item: item["name"]),
    max_size=3,
)  # fmt: skip


@given(SETS, st.sampled_from(["json", "yaml", "hcl"]))
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_read_again(found: dict[str, Any], format: str) -> None:
    text = written(found, format)
    assert items(text, format) == found
    if found:
        assert format_of(text) == format


def test_it_looks_well() -> None:
    found = {"ca-certificates": [{"name": "ca", "certificate": "BEGIN ${x}\nend\n", "enabled": False}]}
    assert written(found, "hcl") == (
        'ca_certificate "ca" {\n  certificate = <<EOT\nBEGIN $${x}\nend\nEOT\n  enabled = false\n}\n'
    )
    assert written(found, "yaml") == (
        "ca-certificates:\n- name: ca\n  certificate: |\n    BEGIN ${x}\n    end\n  enabled: false\n"
    )


def test_kinds_in_the_singular() -> None:
    assert singular("account-repositories") == "account_repository"
    assert len({singular(kind) for kind in KINDS}) == len(KINDS)
