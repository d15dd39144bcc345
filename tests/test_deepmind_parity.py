"""Numerical parity with DeepMind's AlphaFold2, module by module.

Every ``.npz`` below ``tests/golden`` (or below the directory that MINIFOLD_REFERENCE names) is run
through its case in ``tests/parity``. A file without a case fails, an output that the case does not
check fails, and so does a class of the model that no file exercises.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minifold.config import Config
from minifold.model.alphafold import AlphaFold
from tests.parity import geometry, heads, losses, structure, trunk, whole  # noqa: F401
from tests.parity.registry import CASES, Vector

WHOLE = {"AlphaFold"}  # the vectors alphafold_* are of it
GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(Path(os.environ.get("MINIFOLD_REFERENCE", GOLDEN)).glob("*.npz"))


def find_case(name: str):
    """The case of that name; a longer name (a further seed or shape) goes to its longest prefix."""
    known = [known for known in CASES if name == known or name.startswith(known + "_")]
    return CASES[max(known, key=len)] if known else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_equals_deepmind(path, record_property):
    v = Vector(path)
    case = find_case(v.name)
    assert case is not None, f"{path.name}: no parity case knows {v.name!r}"
    checks = case(v)
    assert checks, f"{path.name}: nothing is compared"
    wrong = []
    for check in checks:
        error = check.error()
        record_property(check.name, error)
        if not error <= check.tol:
            wrong.append(f"{check.name}: {error:.1e} > {check.tol:.0e}")
    assert not wrong, f"{path.name}: " + "; ".join(wrong)
    forgotten = set(v.outputs) - v.used
    assert not forgotten, f"{path.name}: outputs that no check compares: {sorted(forgotten)}"


def test_there_are_vectors():
    assert len(FILES) > 0, "no reference vectors were found"


def test_every_case_has_a_vector():
    """With the committed vectors no case may be idle."""
    names = {Vector(path).name for path in GOLDEN.glob("*.npz")}
    assert set(CASES) == names


def test_every_module_has_a_vector(monkeypatch):
    """Each class of the model is loaded with DeepMind's parameters by a vector smaller than it all.

    The primitives (attention, linear, layer norm) count too; a class of the model without
    parameters of its own has nothing to load.
    """
    loaded: set[type] = set()
    load = Vector.load

    def record(self, module, scope):
        loaded.update(type(part) for part in module.modules())
        return load(self, module, scope)

    monkeypatch.setattr(Vector, "load", record)
    for path in sorted(GOLDEN.glob("*.npz")):
        v = Vector(path)
        if not v.name.startswith(("alphafold_", "grad_")):
            find_case(v.name)(v)
    config = Config(evoformer_blocks=1, extra_msa_blocks=1, structure_layers=1, pae=True)
    ours = {type(part) for part in AlphaFold(config).modules() if list(part.parameters())}
    missing = {kind.__name__ for kind in ours - loaded} - WHOLE - {"ModuleList"}
    assert not missing, f"no vector exercises {sorted(missing)}"
