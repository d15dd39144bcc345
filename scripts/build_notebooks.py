"""Build notebooks/ from lessons/: convert, run, store with outputs.

    python scripts/build_notebooks.py [LESSON ...]           write the notebooks
    python scripts/build_notebooks.py --check [LESSON ...]   run them and compare byte by byte

LESSON is a number or the beginning of a name, such as 01; without one, all are built. Two builds
of the same lesson in the same environment give the same bytes. Pictures are stored with 256
colours: nobody sees a difference, and they take half the room.
"""

from __future__ import annotations

import argparse
import base64
import copy
import io
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
LESSONS, NOTEBOOKS = ROOT / "lessons", ROOT / "notebooks"
SECONDS = 600  # the longest a single cell may run


def convert(lesson: Path) -> nbformat.NotebookNode:
    """The notebook of a lesson, not yet run; ids of cells count from 0."""
    notebook = jupytext.read(lesson)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def build(lesson: Path) -> str:
    """The text of the executed notebook."""
    notebook = convert(lesson)
    metadata = copy.deepcopy(notebook.metadata)
    runner = ExecutePreprocessor(
        timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # how a print is cut into pieces depends on timing
    )
    notebook, _ = runner.preprocess(notebook, {"metadata": {"path": str(NOTEBOOKS)}})
    notebook.metadata = metadata  # the kernel adds its Python version
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    return nbformat.writes(notebook) + "\n"


def smaller(png: str) -> str:
    """A picture (base64) with at most 256 colours, if that saves room; on white if transparent."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(white, picture).convert("RGB")
    file = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return min(png, base64.b64encode(file.getvalue()).decode(), key=len)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", help="number or beginning of the name; default all")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    args = parser.parse_args()

    chosen = [
        lesson
        for lesson in sorted(LESSONS.glob("[0-9][0-9]_*.py"))
        if not args.lessons or lesson.name.startswith(tuple(args.lessons))
    ]
    if not chosen:
        print(f"no lesson begins with {' or '.join(args.lessons)}", file=sys.stderr)
        return 2
    NOTEBOOKS.mkdir(exist_ok=True)
    different = 0
    for lesson in chosen:
        started = time.monotonic()
        text = build(lesson)
        target = NOTEBOOKS / f"{lesson.stem}.ipynb"
        same = target.exists() and target.read_text(encoding="utf-8") == text
        different += not same
        if not args.check:
            target.write_text(text, encoding="utf-8")
        state = "the same" if same else "DIFFERENT" if args.check else "written"
        seconds = time.monotonic() - started
        print(f"{target.name}: {state}, {len(text) / 1e6:.2f} MB, {seconds:.0f} s", flush=True)
    return int(args.check and different > 0)


if __name__ == "__main__":
    sys.exit(main())
