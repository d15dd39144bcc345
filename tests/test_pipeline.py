"""One command from a sequence to a relaxed structure: what it writes, keeps, and refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import biotite.structure as struc
import biotite.structure.io as strucio
import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
import pytest

from minifold import pipeline
from minifold.cli import main
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure
from minifold.look import prediction_page
from minifold.model import weights
from minifold.pipeline import Pipeline, Stages
from minifold.predict import Prediction
from tests.small import small_model

DATA = Path(__file__).parent.parent / "data"
TRP_CAGE = "NLYIQWLKDGGPSSGRPPPS"
BPTI = read_structure(DATA / "structures" / "1bpi.cif")
ARROWS = {"A": "S", "L": "I", "K": "R", "D": "E", "S": "T", "Q": "E", "Y": "F", "I": "V"}
RESULTS = ["prediction.cif", "prediction.pdb", "scores.json", "unrelaxed.cif", "view.html"]


def run(*argv) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(x) for x in argv])
    return stop.value.code


def stages(capsys) -> dict[str, str]:
    """Stage → its time, or "kept", as the command said."""
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    words = [line.split() for line in lines]
    names = ("search", "templates", "fold", "relax", "write")
    return {w[0]: w[1] for w in words if len(w) > 1 and w[0] in names}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Trp-cage as FASTA, and a database with ten relatives of it among other proteins."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "query.fasta").write_text(f">trp_cage\n{TRP_CAGE}\n")
    relatives = []
    for k in range(10):
        places = [p for p in range(20) if TRP_CAGE[p] in ARROWS][k : k + 2]
        letters = [ARROWS[c] if p in places else c for p, c in enumerate(TRP_CAGE)]
        relatives.append(f">relative{k}\nGSG{''.join(letters)}\n")
    others = (DATA / "sequences" / "tautomerase.fasta").read_text()
    (folder / "database.fasta").write_text("".join(relatives) + others)
    return folder


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory) -> tuple[tuple, Path]:
    """The arguments of the whole command, and the folder that it filled."""
    out = tmp_path_factory.mktemp("whole") / "out"
    argv = ("fold", "--search", inputs / "database.fasta", inputs / "query.fasta")
    argv += ("--templates", DATA / "structures", "--relax", "--out", out)
    assert run(*argv) == 0
    return argv, out


@pytest.fixture
def no_page(monkeypatch):
    """view.html as an empty file: it takes most of the time of a small run."""

    def write(prediction, path, **_):
        path.write_text("")

    monkeypatch.setattr(prediction_page, "write_prediction_page", write)


def test_from_a_sequence_to_a_relaxed_structure(whole):
    _, out = whole
    kept = ["attention.npz", "hits.a3m", "model.npz", "relaxed.npz", "stages.json"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*RESULTS, *kept, "templates.json"]
    )
    assert (out / "hits.a3m").read_text().count(">") >= 8
    assert json.loads((out / "templates.json").read_text()) == [], "never the target itself"
    scores = json.loads((out / "scores.json").read_text())
    assert scores["violations_after"] == 0 and scores["relax_rmsd_ca"] < 0.5
    assert scores["database"] == "database.fasta" and scores["sequences"] >= 8
    record = json.loads((out / "stages.json").read_text())
    assert list(record) == ["search", "templates", "fold", "relax", "write"]
    assert all(stage["seconds"] >= 0 for stage in record.values())


def test_other_programs_open_every_file(whole):
    _, out = whole
    scores = json.loads((out / "scores.json").read_text())
    for name in ("prediction.cif", "prediction.pdb", "unrelaxed.cif"):
        chain = gemmi.read_structure(str(out / name))[0][0]
        assert gemmi.one_letter_code([residue.name for residue in chain]) == TRP_CAGE
        b_factors = [residue["CA"][0].b_iso for residue in chain]
        np.testing.assert_allclose(b_factors, scores["plddt_per_residue"], atol=0.01)
        atoms = strucio.load_structure(str(out / name))
        assert struc.get_residue_count(atoms) == 20 and not np.isnan(atoms.coord).any()
    block = pdbx.CIFFile.read(out / "prediction.cif").block
    np.testing.assert_allclose(
        block["ma_qa_metric_local"]["metric_value"].as_array(float), scores["plddt_per_residue"]
    )
    steps = block["ma_protocol_step"]
    assert list(steps["method_type"].as_array(str)) == ["modeling", "model refinement"]
    assert list(block["software"]["name"].as_array(str)) == ["minifold", "OpenMM"]
    assert len(pdbx.CIFFile.read(out / "unrelaxed.cif").block["software"]["name"].as_array()) == 1
    relaxed, before = (read_structure(out / f"{x}.cif") for x in ("prediction", "unrelaxed"))
    moved = (relaxed.positions - before.positions)[:, ATOM_INDEX["CA"]]
    assert 0 < np.abs(moved).max() < 2
    assert np.sqrt((moved**2).sum(-1).mean()) == pytest.approx(scores["relax_rmsd_ca"], abs=2e-3)
    page = (out / "view.html").read_text()
    assert page.startswith("<!doctype html>") and "default-src 'none'" in page


def test_a_second_call_keeps_what_is_done(whole, capsys, monkeypatch):
    argv, out = whole
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in ("search", "find_templates", "glance"):
        monkeypatch.setattr(pipeline, name, None)
    monkeypatch.setattr(Prediction, "relax", None)
    monkeypatch.setattr(Prediction, "save", None)
    assert run(*argv) == 0
    assert set(stages(capsys).values()) == {"kept"}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.usefixtures("no_page")
def test_what_has_changed_is_done_again(whole, tmp_path, capsys, monkeypatch):
    argv, out = whole
    mine = tmp_path / "out"
    shutil.copytree(out, mine)
    argv = [*argv[:-1], mine]

    def redone(*more) -> list[str]:
        assert run(*argv, *more) == 0
        return [name for name, spent in stages(capsys).items() if spent != "kept"]

    monkeypatch.setattr(Prediction, "relax", lambda self, seed, quiet: self_with_note(self))
    assert redone("--seed", 1) == ["fold", "relax", "write"]
    assert redone("--seed", 1) == []
    (mine / "hits.a3m").write_bytes((mine / "hits.a3m").read_bytes()[:40])
    assert redone("--seed", 1) == ["search"], "damaged; the same comes out, so the rest stays"
    (mine / "view.html").unlink()
    assert redone("--seed", 1) == ["write"]
    argv.remove("--relax")
    assert redone("--seed", 1) == ["write"]
    assert not (mine / "unrelaxed.cif").exists(), "nothing is left of the run before"
    assert "relaxed" not in json.loads((mine / "scores.json").read_text())
    monkeypatch.setattr(pipeline, "code", lambda: "other code")
    assert redone("--seed", 1) == ["search", "templates", "fold", "write"]


def self_with_note(prediction: Prediction) -> Prediction:
    """As if it had been relaxed."""
    about = {"relaxed": "yes", "violations_before": 1, "violations_after": 0}
    return replace(prediction, about=prediction.about | about | {"relax_rmsd_ca": 0.1})


@pytest.mark.usefixtures("no_page")
def test_ctrl_c_leaves_whole_files_and_the_next_call_goes_on(inputs, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    argv = ("fold", inputs / "query.fasta", "--search", inputs / "database.fasta", "--relax")
    argv += ("--out", out)

    def interrupt(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Prediction, "relax", interrupt)
    assert run(*argv) == 130
    assert capsys.readouterr().err.endswith("minifold: interrupted\n")
    names = ["attention.npz", "hits.a3m", "model.npz", "stages.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    monkeypatch.setattr(Prediction, "relax", lambda self, *_: self_with_note(self))
    monkeypatch.setattr(pipeline, "write_model", interrupt)  # when the other files are written
    assert run(*argv) == 130
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "relaxed.npz"])
    monkeypatch.undo()
    monkeypatch.setattr(Prediction, "relax", None)
    capsys.readouterr()
    assert run(*argv) == 0
    kept = stages(capsys)
    assert kept.pop("write") != "kept" and set(kept.values()) == {"kept"}


@pytest.mark.usefixtures("no_page")
def test_templates_go_into_models_that_take_some(tmp_path, capsys):
    """BPTI is no near copy of its mutant, but of itself; random weights with templates."""
    mutant = list(BPTI.sequence)
    for k in range(3, 54, 8):
        mutant[k] = "A" if mutant[k] != "A" else "S"
    file = tmp_path / "small.safetensors"
    weights.save(small_model(max_templates=2), file)
    found = {}
    for name, options in {
        "with": ("--templates", DATA / "structures" / "1bpi.cif", DATA / "structures" / "1crn.cif"),
        "without": (),
    }.items():
        argv = ("fold", "".join(mutant), "--weights", file, "--out", tmp_path / name, *options)
        assert run(*argv) == 0
        found[name] = read_structure(tmp_path / name / "prediction.cif")
    scores = json.loads((tmp_path / "with" / "scores.json").read_text())
    assert scores["templates"] == "1bpi_A"
    assert np.abs(found["with"].positions - found["without"].positions).max() > 0.1
    (row,) = json.loads((tmp_path / "with" / "templates.json").read_text())
    assert row["chain"] == "A" and len(row["columns"]) == len(row["places"]) > 50
    block = gemmi.cif.read(str(tmp_path / "with" / "prediction.cif")).sole_block()
    assert block.find_value("_ma_template_ref_db_details.db_accession_code") == "1BPI"
    capsys.readouterr()
    argv = ("fold", BPTI.sequence, "--weights", file, "--out", tmp_path / "target", "--templates")
    assert run(*argv, DATA / "structures" / "1bpi.cif") == 0
    assert "holds the target" in capsys.readouterr().err
    assert run(*argv, DATA / "structures" / "1bpi.cif", "--allow-target") == 0
    assert "1bpi_A (of 1 structures)" in capsys.readouterr().err


def test_weights_without_templates_say_so(whole, capsys):
    assert run(*whole[0]) == 0
    err = capsys.readouterr().err
    assert err.count("not used, for seven-nano takes no templates") == 1


@pytest.mark.usefixtures("no_page")
def test_models_with_a_pae_head_write_it(tmp_path):
    file, out = tmp_path / "small.safetensors", tmp_path / "out"
    weights.save(small_model(), file)
    argv = ("fold", TRP_CAGE, "--weights", file, "--recycles", 0, "--out", out)
    assert run(*argv) == 0
    (table,) = json.loads((out / "pae.json").read_text())
    assert np.shape(table["predicted_aligned_error"]) == (20, 20)
    scores = json.loads((out / "scores.json").read_text())
    assert 0 < scores["ptm"] <= 1
    ptm = gemmi.cif.read(str(out / "prediction.cif")).sole_block()
    values = list(ptm.find_values("_ma_qa_metric_global.metric_value"))
    assert float(values[1]) == pytest.approx(scores["ptm"], abs=6e-3)
    assert run(*argv[:3], "seven-nano", *argv[4:]) == 0
    assert not (out / "pae.json").exists(), "these weights have no such head"


def test_bad_input_of_every_stage(inputs, tmp_path, capsys, monkeypatch):
    """Named in one line, exit code 2, and nothing written."""
    query, out = inputs / "query.fasta", tmp_path / "out"
    alien = tmp_path / "alien.fasta"
    alien.write_text(">a\nACDE1\n")
    (tmp_path / "empty.fasta").write_text("")
    (tmp_path / "none").mkdir()
    cut = tmp_path / "cut.cif"
    cut.write_bytes((DATA / "structures" / "1l2y.cif").read_bytes()[:3000])
    for argv, named in [
        ((query, "--search", tmp_path / "nowhere.fasta"), "nowhere.fasta does not exist"),
        ((query, "--search", alien), "alien.fasta"),
        ((query, "--search", tmp_path / "empty.fasta"), "empty.fasta"),
        ((query, "--search", tmp_path / "none"), "none"),
        ((query, "--templates", tmp_path / "nowhere"), "nowhere is not a folder"),
        ((query, "--templates", tmp_path / "none"), "no protein structure"),
        ((query, "--templates", query), "query.fasta is not a folder or a structure file"),
        ((query, "--templates", cut), "cut.cif: not a complete cif file"),
        (("NLYIQXLKD", "--relax"), "residue 6 of 'query' is unknown (X)"),
        ((query, "--weights", "nothing-here"), "no weights 'nothing-here'"),
        ((inputs / "nowhere.fasta", "--relax"), "nowhere.fasta does not exist"),
    ]:
        assert run("fold", *argv, "--out", out) == 2, named
        said, err = capsys.readouterr()
        assert said == "" and err.count("\n") == 1 and named in err, err
        assert not out.exists(), named
    monkeypatch.setitem(__import__("sys").modules, "openmm", None)
    assert run("fold", query, "--relax", "--out", out) == 2
    assert "pip install openmm pdbfixer" in capsys.readouterr().err and not out.exists()


def test_a_folder_that_cannot_be_used(inputs, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert run("fold", inputs / "query.fasta", "--out", tmp_path / "file") == 2
    assert "file cannot be written" in capsys.readouterr().err
    (tmp_path / "stages.json").write_text("{")
    assert run("fold", inputs / "query.fasta", "--out", tmp_path) == 2
    assert "stages.json is damaged; delete it" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("no_page")
def test_arrays_come_back(tmp_path):
    made, _ = Pipeline().run(TRP_CAGE, tmp_path)
    again = Prediction.read_arrays(tmp_path / "model.npz")
    for name, value in vars(made).items():
        np.testing.assert_equal(getattr(again, name), value, err_msg=name)
        assert type(getattr(again, name)) is type(value)


def test_files_of_a_stage_appear_together(tmp_path):
    work = Stages(tmp_path / "run")

    def save(text: str, at: Path) -> None:
        (at / "a").write_text(text)
        if text == "broken":
            raise RuntimeError
        (at / ("b" if text == "one" else "c")).write_text(text)

    def do(text: str) -> str:
        return work.run("x", [text], lambda: text, save, lambda at: (at / "a").read_text(), str)

    assert do("one") == "one"
    with pytest.raises(RuntimeError):
        do("broken")
    assert {p.name: p.read_text() for p in work.folder.iterdir() if p.suffix == ""} == {
        "a": "one", "b": "one"
    }  # fmt: skip
    assert do("two") == "two"
    assert sorted(p.name for p in work.folder.iterdir()) == ["a", "c", "stages.json"]


@pytest.mark.usefixtures("no_page")
def test_the_result_is_the_same_in_one_go_or_two(whole, tmp_path, inputs, monkeypatch):
    """A model that was folded, kept and relaxed later is the one that was relaxed at once."""
    argv, out = whole
    mine = tmp_path / "out"
    first = [x for x in argv[:-1] if x != "--relax"]
    assert run(*first, mine) == 0
    assert run(*argv[:-1], mine) == 0
    for name in ("prediction.pdb", "unrelaxed.cif", "hits.a3m", "templates.json"):
        assert (mine / name).read_bytes() == (out / name).read_bytes(), name
