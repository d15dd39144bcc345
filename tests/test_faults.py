"""What goes wrong while a model is trained: one line, exit code 2, and the last files stay good."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from minifold.errors import BadInput
from minifold.predict import load
from minifold.training import loop
from minifold.training.runs import draw_curves
from tests.test_cli import refused, run

resource = pytest.importorskip("resource", reason="limits of the size of files are Unix's")
STRUCTURES = Path(__file__).parent.parent / "data" / "structures"
STEPS = 2


def folder_of(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        shutil.copy(STRUCTURES / f"{name}.cif", path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with data/ and out/, a finished training of two steps."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder_of(folder / "data", "1l2y")
    assert run("train", "--data", data, "--steps", STEPS, "--out", folder / "out", "--quiet") == 0
    return folder


@pytest.fixture
def again(trained, tmp_path) -> tuple:
    """The command that goes on with a copy of the training for two more steps."""
    out = shutil.copytree(trained / "out", tmp_path / "out")
    command = ("train", "--steps", 2 * STEPS, "--out", out, "--quiet", "--resume")
    return (*command, "--data", trained / "data")


@contextmanager
def disk_with_room_for(size: int):
    """No file may grow beyond so many bytes: the system refuses the write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_loss_that_is_no_number(again, tmp_path, capsys, monkeypatch):
    before, honest = contents(tmp_path / "out"), loop.loss

    def broken(*args):
        return {key: value * float("nan") for key, value in honest(*args).items()}

    monkeypatch.setattr(loop, "loss", broken)
    message = refused(capsys, *again)
    assert "loss is nan at step 2" in message and "resume from it" in message
    after = contents(tmp_path / "out")
    assert after | {"settings.json": b""} == before | {"settings.json": b""}
    load(str(tmp_path / "out" / "weights.safetensors"))
    monkeypatch.undo()
    assert run(*again) == 0, "the last good checkpoint goes on"


def test_a_full_disk(again, tmp_path, capsys):
    before = contents(tmp_path / "out")
    with disk_with_room_for(100_000):
        message = refused(capsys, *again)
    assert "perhaps the disk is full" in message and "the last one is kept" in message
    after = contents(tmp_path / "out")
    assert after.keys() == before.keys()
    assert after["checkpoint.pt"] == before["checkpoint.pt"]
    load(str(tmp_path / "out" / "weights.safetensors"))
    assert run(*again) == 0, "with room again, it goes on"


def test_a_disk_that_is_full_before_the_first_step(again, tmp_path, capsys):
    before = contents(tmp_path / "out")
    with disk_with_room_for(10):
        assert "settings.json cannot be written" in refused(capsys, *again)
    assert contents(tmp_path / "out") == before


def test_a_disk_with_room_for_the_checkpoint_alone(again, tmp_path, capsys, monkeypatch):
    before = contents(tmp_path / "out")
    monkeypatch.setattr(torch, "save", lambda state, path: Path(path).write_bytes(b"small"))
    with disk_with_room_for(100_000):
        assert "cannot write the checkpoint" in refused(capsys, *again)
    after = contents(tmp_path / "out")
    assert after.keys() == before.keys()
    assert after["weights.safetensors"] == before["weights.safetensors"]


def test_curves_are_whole_or_not_written(tmp_path):
    path, row = tmp_path / "curves.png", {"loss": 1.0, "lddt_ca": 0.5, "rmsd_ca": 5.0}
    rows = [{"step": k, "minutes": k} | row for k in (1, 2)]
    path.write_bytes(b"old")
    with disk_with_room_for(500), pytest.raises(BadInput, match=r"curves.png cannot be written"):
        draw_curves(rows, path)
    assert contents(tmp_path) == {"curves.png": b"old"}
    draw_curves(rows, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_an_output_folder_that_is_a_file(again, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    assert "file" in refused(capsys, *again[:-3], *again[-2:], "--out", file)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("damage", ["half", "empty", "foreign", "older"])
def test_a_damaged_checkpoint(again, tmp_path, capsys, damage):
    path = tmp_path / "out" / "checkpoint.pt"
    if damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if damage == "empty":
        path.write_bytes(b"")
    if damage == "foreign":
        torch.save({"x": torch.zeros(3)}, path)
    if damage == "older":  # of a model whose layers had other names
        state = torch.load(path, weights_only=True)
        state["model"] = {f"old.{key}": value for key, value in state["model"].items()}
        torch.save(state, path)
    said = {
        "half": "not a readable checkpoint",
        "empty": "not a readable checkpoint",
        "foreign": "a file of another program",
        "older": "does not fit this version",
    }
    before = contents(tmp_path / "out")
    message = refused(capsys, *again)
    assert said[damage] in message and "checkpoint.pt" in message
    assert contents(tmp_path / "out") == before


def test_a_checkpoint_of_other_data(again, tmp_path, capsys):
    before = contents(tmp_path / "out")
    other = folder_of(tmp_path / "other", "1l2y", "1bpi")
    message = refused(capsys, *again, "--data", other)
    assert "(1 chains" in message and "not on proteins (2 chains" in message
    assert "not on toy families" in refused(capsys, *again, "--data", "toy")
    assert contents(tmp_path / "out") == before
    moved = folder_of(tmp_path / "moved", "1l2y")
    assert run(*again, "--data", moved) == 0, "the same data elsewhere are the same data"
