"""DEVIATIONS.md and docs/algorithms.md say what is true: numbers, names, files and tests exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEVIATIONS = (ROOT / "DEVIATIONS.md").read_text()
ALGORITHMS = (ROOT / "docs" / "algorithms.md").read_text()
ENTRIES = re.findall(r"^\| (D\d+) \|(.*)$", DEVIATIONS, re.MULTILINE)
ROWS = re.findall(r"^\| (\d+) \|(.*)$", ALGORITHMS, re.MULTILINE)


def named_tests(text: str) -> list[str]:
    return re.findall(r"tests/\w+\.py::\w+|\[\w+\]", text)


def exists(test: str) -> bool:
    """A test function in its file, or, in brackets, a reference vector."""
    if test.startswith("["):
        return (ROOT / "tests" / "golden" / f"{test[1:-1]}.npz").is_file()
    file, name = test.split("::")
    path = ROOT / file
    return path.is_file() and f"\ndef {name}(" in path.read_text()


def test_the_numbers_run_through():
    assert [number for number, _ in ENTRIES] == [f"D{k + 1}" for k in range(len(ENTRIES))]
    assert len(ENTRIES) >= 18


@pytest.mark.parametrize("number, text", ENTRIES, ids=[number for number, _ in ENTRIES])
def test_every_deviation_is_pinned_by_tests_that_exist(number, text):
    named = named_tests(text)
    assert named, f"{number} names no test"
    assert not [test for test in named if not exists(test)]


def test_every_number_cited_in_the_code_exists():
    known, cited = {number for number, _ in ENTRIES}, set()
    paths = [p for folder in ("minifold", "lessons", "docs") for p in (ROOT / folder).rglob("*")]
    for path in paths:
        if path.suffix in (".py", ".md"):
            found = re.findall(r"\b(?:[Dd]eviation )?(D\d+) of DEVIATIONS\.md", path.read_text())
            assert set(found) <= known, f"{path.name} cites {set(found) - known}"
            cited |= set(found)
    assert {"D1", "D4", "D5", "D6"} <= cited


def test_every_algorithm_has_its_row():
    assert [int(number) for number, _ in ROWS] == list(range(1, 33))


@pytest.mark.parametrize("number, text", ROWS, ids=[number for number, _ in ROWS])
def test_a_row_names_things_that_exist(number, text):
    cells = [cell.strip() for cell in text.strip(" |").split("|")]
    assert len(cells) == 5, "name, in the code, file, lesson, tests"
    _, symbols, files, lesson, tests = cells
    modules = [
        importlib.import_module(file.removesuffix(".py").replace("/", "."))
        for file in re.findall(r"`(minifold/[\w/]+\.py)`", files)
    ]
    symbols = re.findall(r"`([\w.]+)`", symbols)
    assert modules and symbols and named_tests(tests)
    for symbol in symbols:
        first, *rest = symbol.split(".")
        homes = [m for m in modules if getattr(m, first, None) is not None]
        homes = [m for m in homes if getattr(m, first).__module__ == m.__name__]
        assert homes, f"{symbol} is defined in none of {files}"
        thing = getattr(homes[0], first)
        for name in rest:
            thing = getattr(thing, name)
        assert f"Alg. {number}" in source(homes[0]) or number in numbers_in(source(homes[0]))
    assert re.fullmatch(r"\d\d_\w+", lesson) and 1 <= int(lesson[:2]) <= 14
    assert not [test for test in named_tests(tests) if not exists(test)]


def source(module) -> str:
    return Path(module.__file__).read_text()


def numbers_in(text: str) -> set[str]:
    """All algorithm numbers that a module mentions, also in "Algorithms 7-10 and 19"."""
    found: set[str] = set()
    for phrase in re.findall(r"Alg(?:orithms?|\.) ([\d ,\-]+(?:(?:and|to) \d+)?)", text):
        for first, last in re.findall(r"(\d+)(?:\s*(?:-|to)\s*(\d+))?", phrase):
            found |= {str(k) for k in range(int(first), int(last or first) + 1)}
    return found
