"""The mechanism: from a file and an environment to a model, with every mistake in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import pytest
from pydantic import Field

from usp import configfile
from usp.configfile import File, load, read_file, redacted
from usp.errors import Problem, UspError
from usp.model import Model
from usp.secret import Secret


class Inner(Model):
    low: int = Field(default=1, ge=0, description="a small number")
    high: float = 2.0

    def problems(self) -> Iterator[Problem]:
        if self.low > self.high:
            yield Problem(("low",), "is above high")


class Outer(Model):
    inner: Inner = Inner()


class Sample(Model):
    name: Annotated[str, Field(min_length=1, pattern="^[a-z]*$", description="small letters")]
    token: Secret | None = None
    on: bool = True
    items: tuple[str, ...] = ()
    key: Annotated[str, File(private=True)] | None = None
    block: Inner = Inner()
    outer: Outer = Outer()


class WithFiles(Model):
    key: Annotated[str, File(private=True)]
    cert: Annotated[str, File()]

    def file_problems(self) -> Iterator[Problem]:
        yield from configfile.file_problems(self.key + ".pub", ("key",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "f.hcl"


def problems(
    file: Path, text: str, model: type[Model] = Sample, environ: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    file.write_text(text)
    with pytest.raises(UspError) as caught:
        load(model, file, environ)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def test_a_whole_file(file: Path) -> None:
    file.write_text('name = "x"\non = false\nitems = ["a"]\nblock {\n low = 0\n high = 1\n}\nouter {\n inner { }\n}\n')
    assert load(Sample, file, {}) == Sample(name="x", on=False, items=("a",), block=Inner(low=0, high=1.0))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: name: is required (small letters)"),
        ('nam = "x"', "1:1: nam: is not known here (did you mean name?)"),
        ("zzz = 1", "1:1: zzz: is not known here"),
        ('name = "x"\nblock {\n lo = 1\n}', "3:2: block.lo: is not known here (did you mean low?)"),
        ("name = 1", "1:1: name: must be a text (small letters)"),
        ('name = ""', "1:1: name: must not be empty (small letters)"),
        ('name = "X"', "1:1: name: is not written as it must be (small letters)"),
        ('name = "x"\non = 1', "2:1: on: must be true or false"),
        ('name = "x"\non = "true"', "2:1: on: must be true or false"),
        ('name = "x"\nitems = "a"', "2:1: items: must be a list"),
        ('name = "x"\nitems = [\n "a",\n 1]', "4:2: items.1: must be a text"),
        ('name = "x"\nblock {\n\n low = -1\n}', "4:2: block.low: must be 0 or more (a small number)"),
        ('name = "x"\nblock {\n low = 1.5\n}', "3:2: block.low: must be a whole number (a small number)"),
        ('name = "x"\nblock {\n high = "1"\n}', "3:2: block.high: must be a number"),
        ('name = "x"\nblock {\n low = 9\n}', "3:2: block.low: is above high"),
        ('name = "x"\nouter {\n inner {\n low = 9\n}\n}', "4:2: outer.inner.low: is above high"),
        ('name = "x"\nblock = 1', "2:1: block: is a block (write block { ... })"),
        ('name = "x"\nblock = {low = 1}', "2:1: block: is a block (write block { ... })"),
        ("name {\n}", "1:1: name: is an argument (write name = ...)"),
    ],
)
def test_mistakes_have_a_place(file: Path, text: str, problem: str) -> None:
    assert problems(file, text) == [problem]


def test_a_missing_argument_is_placed_at_its_block(file: Path) -> None:
    class Block(Model):
        inner: Sample

    assert problems(file, "\ninner {\n}", Block) == ["2:1: inner.name: is required (small letters)"]


def test_a_secret_never_shows(file: Path) -> None:
    told = problems(file, 'token = "hunter2"\nname = 1')
    assert "hunter2" not in "".join(told)
    file.write_text('token = "hunter2"\nname = "x"')
    settings = load(Sample, file, {})
    assert settings.token == Secret("hunter2")
    assert 'token = "***"' in redacted(settings)
    assert "hunter2" not in redacted(settings) + repr(settings)


def test_redacted_is_hcl_that_gives_the_same_settings(file: Path) -> None:
    settings = Sample(name="x", items=("é", 'quo"te'), on=False, outer=Outer(inner=Inner(low=0)))
    file.write_text(redacted(settings))
    assert load(Sample, file, {}) == settings


def test_the_environment_overrides(file: Path) -> None:
    file.write_text('name = "x"\nblock {\n low = 9\n}\n')
    environ = {
        "USP_NAME": "y",
        "USP_TOKEN": "123",
        "USP_ON": "false",
        "USP_ITEMS": '["a", "b"]',
        "USP_BLOCK__LOW": "1",
        "USP_OUTER__INNER__HIGH": "2.5",
        "USP_OTHERS__THING": "?",
        "USP_URL": "https://x",
        "PATH": "/bin",
    }
    assert load(Sample, file, environ, foreign_blocks=["others", "block"]) == Sample(
        name="y",
        token=Secret("123"),
        on=False,
        items=("a", "b"),
        block=Inner(low=1),
        outer=Outer(inner=Inner(high=2.5)),
    )


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("USP_ON", "yes", "USP_ON: on: does not read as a value (write true or false)"),
        ("USP_ON", "1", "USP_ON: on: must be true or false"),
        ("USP_BLOCK__LOW", "x", "USP_BLOCK__LOW: block.low: does not read as a value (write a number)"),
        ("USP_BLOCK__LOW", "-1", "USP_BLOCK__LOW: block.low: must be 0 or more (a small number)"),
        ("USP_ITEMS", "a,b", 'USP_ITEMS: items: does not read as a value (write a JSON list, such as ["a", "b"])'),
        ("USP_ITEMS", "[1]", "USP_ITEMS: items.0: must be a text"),
        ("USP_BLOK__LOW", "1", "USP_BLOK__LOW: no such argument can be overridden (did you mean USP_BLOCK__LOW?)"),
        ("USP_BLOCK__X", "1", "USP_BLOCK__X: no such argument can be overridden"),
    ],
)
def test_mistakes_in_the_environment_name_the_variable(file: Path, variable: str, text: str, problem: str) -> None:
    found = problems(file, 'name = "x"\nitems = [\n"c"]', environ={variable: text})
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_files_that_arguments_name_are_looked_at(file: Path, tmp_path: Path) -> None:
    key, cert = tmp_path / "key", tmp_path / "cert"
    text = f'key = "{key}"\ncert = "{cert}"\n'
    assert problems(file, text, WithFiles) == [
        f"1:1: key: cannot read {key}: No such file or directory",
        f"2:1: cert: cannot read {cert}: No such file or directory",
        f"1:1: key: cannot read {key}.pub: No such file or directory",
    ]
    assert load(WithFiles, file, {}, files=False).key == str(key)
    for path in (key, cert, tmp_path / "key.pub"):
        path.write_text("x")
        path.chmod(0o640)
    assert problems(file, text, WithFiles) == [f"1:1: key: {key} is readable by others (chmod 600 {key})"]
    key.chmod(0o600)
    assert load(WithFiles, file, {}).cert == str(cert)


def test_private_files_belong_to_who_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.write_text("x")
    key.chmod(0o600)
    assert read_file(str(key), private=True) == "x"
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if os.stat(key).st_uid == 0:
        os.chown(key, 4712, -1)
    with pytest.raises(UspError, match=r"belongs to another user, \d+, who could change it \(chown 4711"):
        read_file(str(key), private=True)
    key.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_file(str(key), private=True) == "x"


def test_read_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xff")
    with pytest.raises(UspError, match="not a text file"):
        read_file(str(path))
    with pytest.raises(UspError, match="Is a directory"):
        read_file(str(tmp_path))
    path.write_text("x\n")
    os.chmod(path, 0o644)
    assert read_file(str(path)) == "x\n"
