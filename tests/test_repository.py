"""What must hold for the repository as a whole."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT


def tracked() -> list[Path]:
    """The files of the repository; without git, the files that are there."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in output.split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    pairs = []
    for path in tracked():
        try:
            pairs.append((path.relative_to(ROOT), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    assert len(pairs) > 20
    return pairs


# Written in pieces, so that this file does not contain what it forbids.
FORBIDDEN = {
    "a path of somebody's machine": "|".join(
        rf"(?<![\w.~])/{folder}/"
        for folder in ("wo" + "rk", "ro" + "ot", "home/\\w+", "Users/\\w+")
    ),
    "an address of a package registry": "|".join(
        (
            "pypi" + r"\.org",
            "pythonhosted" + r"\.org",
            "download" + r"\.pytorch",
            "registry" + r"\.npm",
        )
    ),
    "a wrong name of the distribution": "pip install " + r"minifold(?!-course)",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_private_or_wrong_is_committed(what):
    pattern = re.compile(FORBIDDEN[what])
    hits = [(str(path), hit.group()) for path, text in texts() for hit in pattern.finditer(text)]
    assert not hits


def test_the_patterns_find_what_they_forbid():
    examples = {
        "a path of somebody's machine": ["/ro" + "ot/.venv", "open('/ho" + "me/ann/x')"],
        "an address of a package registry": ["https://pypi" + ".org/simple"],
        "a wrong name of the distribution": ["pip install " + "minifold\n"],
    }
    for what, lines in examples.items():
        assert all(re.search(FORBIDDEN[what], line) for line in lines)
    assert not re.search(
        FORBIDDEN["a wrong name of the distribution"], "pip install minifold-course"
    )


def test_files_are_small():
    assert not [path for path in tracked() if path.stat().st_size > 2_000_000]


def test_modules_can_be_read_in_one_sitting():
    modules = sorted((ROOT / "minifold").rglob("*.py"))
    assert modules
    long = {m.name: n for m in modules if (n := len(m.read_text().splitlines())) > 450}
    assert not long


def test_imports_have_no_circle():
    """Between the modules of the package, counting imports at the top of a module."""
    graph = {}
    for path in (ROOT / "minifold").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        nodes = ast.parse(path.read_text(encoding="utf-8")).body
        found = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        found += [f"{m}.{a.name}" for n, m in _from_imports(nodes) for a in n.names]
        found += [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
        graph[name] = found
    assert "minifold.config" in graph
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path[path.index(name) :], name))
        if name in done or name not in graph:
            return
        for other in graph[name]:
            if other != "minifold":
                visit(other, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def _from_imports(nodes: list[ast.stmt]) -> list[tuple[ast.ImportFrom, str]]:
    return [(n, n.module) for n in nodes if isinstance(n, ast.ImportFrom) and n.module]


def test_import_is_light():
    """`import minifold` does not load what only some commands need."""
    heavy = ["matplotlib", "pyhmmer", "py3Dmol", "scipy", "openmm", "IPython"]
    code = f"import sys, minifold; print(*[name for name in {heavy} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []


def test_make_lists_its_targets():
    command = ["make", "--no-print-directory"]  # the tests themselves may run below make
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.M).group(1).split())
    assert {"help", "demo", "test", "lab", "notebooks", "lint", "clean"} <= targets
    listed = {line.split()[0]: line.split()[1:] for line in text.splitlines()[1:]}
    assert set(listed) == targets
    assert all(listed.values())  # each says what it does


def test_the_gate_runs_the_readme_s_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_pins_are_exact_and_within_the_ranges():
    from packaging.requirements import Requirement

    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in filter(lambda line: line and not line.startswith("#"), lines):
        assert re.fullmatch(r"[\w.-]+==[\d.]+", line), line
        name, version = line.split("==")
        pins[name.lower()] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["test"]
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement
    assert project["name"] == "minifold-course"
