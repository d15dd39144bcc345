"""Every lesson has its notebook, built from it, executed and within its limits.

That the outputs come out the same again is tested by nbval (`make test`).
"""

import base64
import importlib.util
import io
import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.conftest import ROOT

LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in LESSONS]

_spec = importlib.util.spec_from_file_location("build", ROOT / "scripts" / "build_notebooks.py")
build_notebooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build_notebooks)


def load(name: str) -> dict:
    return json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))


def code_cells(name: str) -> list[dict]:
    return [cell for cell in load(name)["cells"] if cell["cell_type"] == "code"]


def nbgrader(cell: dict) -> dict:
    return cell["metadata"].get("nbgrader", {})


def test_a_notebook_for_every_lesson():
    assert NAMES
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_built_from_its_lesson(name):
    """Same cells and same metadata; if not: make notebooks."""
    fresh = build_notebooks.convert(ROOT / "lessons" / f"{name}.py")
    built = load(name)
    assert [(c.cell_type, c.source, c.metadata) for c in fresh.cells] == [
        (c["cell_type"], "".join(c["source"]), c["metadata"]) for c in built["cells"]
    ]
    assert built["metadata"] == fresh.metadata


@pytest.mark.parametrize("name", NAMES)
def test_executed_in_order_without_errors(name):
    cells = code_cells(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr", f"a warning is shown: {output['text']}"


@pytest.mark.parametrize("name", NAMES)
def test_size_and_rhythm(name):
    assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size < 1_000_000
    for cell in code_cells(name):
        assert len("".join(cell["source"]).splitlines()) <= 20, "".join(cell["source"])
    text = "".join(line for cell in load(name)["cells"] for line in cell["source"])
    for section in ("## Quiz", "## In the paper", "## In real AlphaFold2", "## What next"):
        assert f"{section}\n" in text
    assert text.count("<details>") == text.count("</details>") >= 3
    assert "Predict first" in text


def test_pictures_are_stored_with_few_colours_and_look_the_same():
    rng = np.random.default_rng(0)
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    ax.scatter(*rng.normal(size=(2, 300)), c=rng.random(300), cmap="viridis")
    ax.set_title("many colours")
    file = io.BytesIO()
    figure.savefig(file, format="png", transparent=True)
    before = base64.b64encode(file.getvalue()).decode()
    after = build_notebooks.smaller(before)
    assert len(after) < 0.7 * len(before)
    old, new = (Image.open(io.BytesIO(base64.b64decode(png))) for png in (before, after))
    new = np.asarray(new.convert("RGB"), float)
    assert (new[0, 0] == 255).all()  # white where it was transparent
    visible = np.asarray(old)[..., 3] == 255
    assert np.abs(new - np.asarray(old.convert("RGB")))[visible].mean() < 3
    assert build_notebooks.smaller(after) == after  # once is enough


@pytest.mark.parametrize("name", NAMES)
def test_exercises(name):
    """At least three; a solution cell with marks, then a locked check with points."""
    cells = code_cells(name)
    solutions = [cell for cell in cells if nbgrader(cell).get("solution")]
    checks = [cell for cell in cells if nbgrader(cell).get("grade")]
    assert len(solutions) == len(checks) >= 3
    for cell in solutions:
        source = "".join(cell["source"])
        assert source.count("### BEGIN SOLUTION") == source.count("### END SOLUTION") == 1
    # nbgrader looks for the marks in every cell, also in prose
    text = json.dumps(load(name))
    assert text.count("BEGIN SOLUTION") == text.count("END SOLUTION") == len(solutions)
    for cell in checks:
        assert nbgrader(cell)["locked"] and nbgrader(cell)["points"] > 0
        assert "minifold.check(" in "".join(cell["source"])
        assert "✓" in "".join(cell["outputs"][0]["text"])
    ids = [nbgrader(cell)["grade_id"] for cell in solutions + checks]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_glossary_links_lead_somewhere(name):
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", glossary, flags=re.M)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    lesson = (ROOT / "lessons" / f"{name}.py").read_text(encoding="utf-8")
    assert set(re.findall(r"glossary\.md#([\w-]+)", lesson)) <= anchors
