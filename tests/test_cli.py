"""The command line: what it writes, and what it says about bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from minifold.cli import main
from minifold.config import preset
from minifold.model import weights
from minifold.model.alphafold import AlphaFold

ROOT = Path(__file__).parent.parent
KUNITZ = ROOT / "data" / "sample_msas" / "kunitz_1bpi.a3m"
BPTI = ROOT / "data" / "structures" / "1bpi.cif"
SCORES = ["lddt", "lddt_ca", "tm_score", "gdt_ts", "gdt_ha", "rmsd_ca"]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Weights of an untrained model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    config = preset("nano").replace(
        evoformer_blocks=1, structure_layers=1, max_msa=4, max_extra_msa=4
    )
    weights.save(AlphaFold(config), path)
    return path


def run(*argv) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(x) for x in argv])
    return stop.value.code


def refused(capsys, *argv) -> str:
    """The one line that the command says when it refuses its input."""
    capsys.readouterr()
    assert run(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("minifold: "), err
    assert "Traceback" not in err
    return err


def test_fold_then_evaluate(small, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("fold", KUNITZ, "--weights", small, "--recycles", 0, "--out", out) == 0
    assert "58 residues" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == [
        "attention.npz",
        "model.npz",
        "prediction.cif",
        "prediction.pdb",
        "scores.json",
        "stages.json",
        "view.html",
    ]
    scores = json.loads((out / "scores.json").read_text())
    assert 0 <= scores["plddt"] <= 100 and len(scores["plddt_per_residue"]) == 58
    for name in ("prediction.cif", "prediction.pdb"):
        chain = gemmi.read_structure(str(out / name))[0][0]
        b_factors = [residue["CA"][0].b_iso for residue in chain]
        assert np.allclose(b_factors, scores["plddt_per_residue"], atol=0.01)
    assert run("evaluate", out / "prediction.cif", BPTI) == 0
    assert list(json.loads(capsys.readouterr().out)) == SCORES


def test_evaluate_of_the_truth_itself(capsys):
    assert run("evaluate", BPTI, BPTI, "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    scores = json.loads(out)
    assert scores["rmsd_ca"] < 1e-3 and min(scores[k] for k in SCORES[:-1]) > 0.9999


def test_fold_a_raw_sequence_as_json(small, tmp_path, capsys):
    argv = ("fold", "NLYIQWLKDGGPSSGRPPPS", "--weights", small, "--json", "--out")
    assert run(*argv, tmp_path / "o") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["sequences"] == 1 and first["ptm"] is None
    assert run(*argv, tmp_path / "p") == 0
    files = [(tmp_path / folder / "prediction.cif").read_bytes() for folder in "op"]
    assert files[0] == files[1], "the seed decides"


BAD_ALIGNMENTS = {
    "alien.a3m": (">q\nACDE\n>r\nAC1E\n", "alien.a3m:3: '1'"),
    "ragged.a3m": (">q\nACDE\n>r\nACD\n", "ragged.a3m:3: 'r' has 3 columns"),
    "empty.a3m": ("", "empty.a3m"),
    "no_rows.sto": ("# STOCKHOLM 1.0\n//\n", "no_rows.sto"),
    "headless.fasta": ("ACDEFG\n", "headless.fasta"),
    "letter.txt": (">q\nACDE\n", "letter.txt"),
}


@pytest.mark.parametrize("name", BAD_ALIGNMENTS)
def test_bad_alignment(name, small, tmp_path, capsys):
    text, named = BAD_ALIGNMENTS[name]
    path, out = tmp_path / name, tmp_path / "out"
    path.write_text(text)
    message = refused(capsys, "fold", path, "--weights", small, "--out", out)
    assert name in message and named in message
    assert not out.exists(), "nothing half-written"


def test_bad_sources(small, tmp_path, capsys):
    out = ("--weights", small, "--out", tmp_path / "out")
    assert "does not exist" in refused(capsys, "fold", "nowhere.a3m", *out)
    assert "no amino acid" in refused(capsys, "fold", "ACDE7", *out)
    long = "A" * (preset("nano").max_residues + 1)
    assert "takes at most" in refused(capsys, "fold", long, *out)
    assert str(tmp_path) in refused(capsys, "fold", tmp_path, *out)
    assert refused(capsys, "fold", BPTI, *out) != "", "a structure is no alignment"
    assert not (tmp_path / "out").exists()


def test_bad_weights(small, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    missing = refused(capsys, "fold", KUNITZ, "--weights", "nothing-here", *out)
    assert "nothing-here" in missing and "shipped" in missing

    foreign = tmp_path / "foreign.safetensors"
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, foreign)
    assert "foreign.safetensors" in refused(capsys, "fold", KUNITZ, "--weights", foreign, *out)

    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(small.read_bytes()[:1000])
    assert "cut.safetensors" in refused(capsys, "fold", KUNITZ, "--weights", cut, *out)

    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, **{"alphafold/alphafold_iteration/evoformer/left_single//bias": np.zeros(3)})
    assert "do not fit" in refused(capsys, "fold", KUNITZ, "--weights", wrong, *out)
    assert not (tmp_path / "out").exists()


def test_bad_structures(tmp_path, capsys):
    text = "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O\nEND\n"
    water = tmp_path / "water.pdb"
    water.write_text(text)
    assert "water.pdb" in refused(capsys, "evaluate", water, BPTI)
    cut = tmp_path / "cut.cif"
    cut.write_bytes(BPTI.read_bytes()[:3000])
    assert "cut.cif" in refused(capsys, "evaluate", cut, BPTI)
    other = ROOT / "data" / "structures" / "1ubq.cif"
    assert "align" in refused(capsys, "evaluate", other, BPTI)


def test_an_unknown_preset_or_number_is_refused(tmp_path, capsys):
    assert run("train", "--preset", "huge") == 2
    assert "invalid choice" in capsys.readouterr().err
    assert run("train", "--minutes", "-1") == 2
    assert run("fold", KUNITZ, "--recycles", "x") == 2


def test_train_and_resume(tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "1l2y.cif").write_bytes((ROOT / "data" / "structures" / "1l2y.cif").read_bytes())
    argv = ("train", "--data", data, "--steps", 3, "--out", out, "--quiet", "--json")
    assert run(*argv) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"model", "helix", "random walk"} == set(scores)
    assert {"weights.safetensors", "checkpoint.pt", "log.csv", "curves.png"} <= {
        p.name for p in out.iterdir()
    }
    assert run(*argv, "--resume") == 0
    assert "preset" in refused(capsys, *argv, "--resume", "--preset", "mini")
    assert "nothing to resume" in refused(capsys, *argv, "--resume", "--out", tmp_path / "new")
    assert "is not a folder" in refused(capsys, *argv, "--data", tmp_path / "none")


def test_train_goes_on_from_weights_and_practises_recycling(small, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "1l2y.cif").write_bytes((ROOT / "data" / "structures" / "1l2y.cif").read_bytes())
    argv = ("train", "--data", data, "--from", small, "--recycles", 1, "--steps", 1)
    assert run(*argv, "--out", out, "--quiet") == 0
    begun, made = weights.load(small), weights.load(out / "weights.safetensors")
    assert made.config == begun.config.replace(recycles=1)
    moved = [(a - b).abs().max().item() for a, b in zip(begun.parameters(), made.parameters())]
    assert 0 < max(moved) < 1e-3  # one step of a warm-up away, not drawn anew
    assert run("train", "--from", "no-such-weights") == 2


def test_world_writes_files_that_fold_reads(small, tmp_path, capsys):
    world = tmp_path / "world"
    argv = ("world", "--count", 2, "--length", 24, "--depth", 8, "--out", world, "--json")
    assert run(*argv) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert len(files) == 4 and all(Path(name).is_file() for name in files)
    a3m = next(name for name in files if name.endswith(".a3m"))
    assert run("fold", a3m, "--weights", small, "--out", tmp_path / "o", "--quiet") == 0
    assert run("evaluate", tmp_path / "o" / "prediction.pdb", Path(a3m).with_suffix(".cif")) == 0


def test_help_is_there_for_every_command(capsys):
    assert run("--help") == 0
    commands = ("fold", "relax", "evaluate", "train", "world", "fetch", "attention", "demo")
    text = capsys.readouterr().out
    for command in commands:
        assert command in text
        assert run(command, "--help") == 0
        shown = capsys.readouterr().out
        assert all(flag in shown for flag in ("--seed", "--device", "--quiet", "--json"))


def test_python_dash_m_is_the_same():
    result = subprocess.run(
        [sys.executable, "-m", "minifold", "evaluate", "none.cif", str(BPTI)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1
