"""ModelCIF and PAE files: what is written is what gemmi, biotite and our own reader find."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
import pytest

from minifold.data.modelcif import model_cif, pae_json, write_model
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from minifold.predict import Prediction

CRAMBIN = Path(__file__).parent.parent / "data" / "structures" / "1crn.cif"


@pytest.fixture
def prediction() -> Prediction:
    """Crambin as if it had been predicted."""
    chain = read_structure(CRAMBIN)
    n = len(chain.sequence)
    rng = np.random.default_rng(0)
    return Prediction(
        name="crambin",
        sequence=chain.sequence,
        residue_index=chain.residue_index,
        positions=chain.positions,
        atom_mask=chain.mask,
        plddt=np.linspace(12.345, 99.994, n),
        contacts=np.zeros((n, n)),
        distances=np.zeros((n, n)),
        trajectory=np.zeros((1, n, 3)),
        msa_depth=np.ones(n),
        pae=rng.uniform(0, 31.75, (n, n)),
        ptm=0.876,
        about={"weights": "w.npz", "preset": "nano", "recycles": 3, "seed": 0, "sequences": 12},
    )


def with_gaps_and_unknown(prediction: Prediction) -> Prediction:
    index = prediction.residue_index + 4 + 7 * (np.arange(46) > 9)
    mask = prediction.atom_mask.copy()
    mask[5, 5:] = mask[5, ATOM_INDEX["CB"]] = 0
    mask[5, ATOM_INDEX["O"]] = 1
    sequence = prediction.sequence[:5] + "X" + prediction.sequence[6:]
    return replace(prediction, residue_index=index, sequence=sequence, atom_mask=mask)


def table(text: str, category: str) -> list[dict[str, str]]:
    """The rows of a category, as gemmi finds them."""
    columns = gemmi.cif.read_string(text).sole_block().get_mmcif_category(f"_{category}.")
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


@pytest.mark.parametrize("change", [lambda p: p, with_gaps_and_unknown])
def test_our_reader_gets_everything_back(prediction, tmp_path, change):
    wanted = change(prediction)
    write_model(wanted, tmp_path / "x.cif")
    found = read_structure(tmp_path / "x.cif")
    assert found.sequence == wanted.sequence and found.name == "crambin"
    np.testing.assert_array_equal(found.residue_index, wanted.residue_index)
    np.testing.assert_array_equal(found.mask, wanted.atom_mask)
    atoms = wanted.atom_mask == 1
    np.testing.assert_allclose(found.positions[atoms], wanted.positions[atoms], atol=6e-4)
    np.testing.assert_allclose(found.b_factors, wanted.plddt, atol=6e-3)


@pytest.mark.parametrize("change", [lambda p: p, with_gaps_and_unknown])
def test_biotite_reads_the_same(prediction, change):
    wanted = change(prediction)
    file = pdbx.CIFFile.read(io.StringIO(model_cif(wanted)))
    atoms = pdbx.get_structure(file, model=1, extra_fields=["b_factor"])
    assert len(atoms) == wanted.atom_mask.sum()
    assert str(pdbx.get_sequence(file)["A"]) == wanted.sequence
    calpha = atoms[atoms.atom_name == "CA"]
    np.testing.assert_allclose(
        calpha.coord, wanted.positions[:, ATOM_INDEX["CA"]], atol=6e-4, rtol=0
    )
    np.testing.assert_array_equal(calpha.res_id, wanted.residue_index + 1)
    np.testing.assert_allclose(calpha.b_factor, wanted.plddt, atol=6e-3)
    local = file.block["ma_qa_metric_local"]
    np.testing.assert_allclose(local["metric_value"].as_array(float), wanted.plddt, atol=6e-3)
    np.testing.assert_array_equal(local["label_seq_id"].as_array(int), calpha.res_id)
    assert list(local["label_comp_id"].as_array(str)) == list(calpha.res_name)


def test_unknown_residues_and_numbers_with_gaps_in_gemmi(prediction):
    text = model_cif(with_gaps_and_unknown(prediction))
    chain = gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())[0][0]
    numbers = [residue.seqid.num for residue in chain]
    assert numbers[:2] == [5, 6] and numbers[9:11] == [14, 22] and len(numbers) == 46
    assert chain[5].name == "UNK" and {atom.name for atom in chain[5]} == {"N", "CA", "C", "O"}
    assert [residue.label_seq for residue in chain] == numbers
    (entity,) = table(text, "entity_poly")
    assert "(UNK)" in entity["pdbx_seq_one_letter_code"] and entity["nstd_monomer"] == "yes"
    sequence = table(text, "entity_poly_seq")
    assert [row["mon_id"] for row in sequence] == [residue.name for residue in chain]
    assert [int(row["num"]) for row in sequence] == numbers


def test_numbers_have_the_precision_of_the_alphafold_database(prediction):
    text = model_cif(prediction)
    for row in table(text, "ma_qa_metric_local"):
        assert re.fullmatch(r"\d{1,3}\.\d{2}", row["metric_value"])
    atoms = table(text, "atom_site")
    for row in atoms[:50]:
        assert re.fullmatch(r"-?\d+\.\d{3}", row["Cartn_x"])
        assert re.fullmatch(r"\d+\.\d{2}", row["B_iso_or_equiv"]) and row["occupancy"] == "1.00"
    assert atoms[0]["B_iso_or_equiv"] == "12.35" or atoms[0]["B_iso_or_equiv"] == "12.34"
    assert table(text, "ma_qa_metric_global")[0]["metric_value"] == f"{prediction.plddt.mean():.2f}"


def test_confidence_is_declared_and_complete(prediction):
    text = model_cif(prediction)
    metrics = {row["id"]: (row["name"], row["mode"]) for row in table(text, "ma_qa_metric")}
    assert metrics == {"1": ("pLDDT", "global"), "2": ("pLDDT", "local"), "3": ("pTM", "global")}
    overall = {row["metric_id"]: row["metric_value"] for row in table(text, "ma_qa_metric_global")}
    assert overall["3"] == "0.88"
    local = table(text, "ma_qa_metric_local")
    assert len(local) == len(prediction.sequence)
    assert {row["metric_id"] for row in local} == {"2"}
    without = model_cif(replace(prediction, ptm=None))
    assert len(table(without, "ma_qa_metric")) == 2 and "pTM" not in without
    assert "pairwise" not in text


def test_provenance_says_what_made_it(prediction):
    text = model_cif(prediction)
    (software,) = table(text, "software")
    assert software["name"] == "minifold" and software["version"]
    settings = {row["name"]: row for row in table(text, "ma_software_parameter")}
    assert {name: row["value"] for name, row in settings.items()} == {
        "weights": "w.npz", "preset": "nano", "recycles": "3", "seed": "0", "sequences": "12"
    }  # fmt: skip
    assert settings["recycles"]["data_type"] == "integer"
    (step,) = table(text, "ma_protocol_step")
    data = {row["id"]: row["content_type"] for row in table(text, "ma_data")}
    groups = [(row["group_id"], data[row["data_id"]]) for row in table(text, "ma_data_group")]
    goes_in = {kind for group, kind in groups if group == step["input_data_group_id"]}
    comes_out = {kind for group, kind in groups if group == step["output_data_group_id"]}
    assert goes_in == {"target", "coevolution MSA"} and comes_out == {"model coordinates"}
    (model,) = table(text, "ma_model_list")
    assert data[model["data_id"]] == "model coordinates"
    alone = model_cif(replace(prediction, about={"weights": "w", "sequences": 1}))
    assert "coevolution MSA" not in alone and "template" not in alone


def test_relaxation_is_a_step_of_its_own_and_times_are_no_settings(prediction):
    about = {"seconds": 1.5, "relaxed": "AMBER", "openmm": "8.6.1", "templates": "1abc_A"}
    text = replace(prediction, about=about).to_cif()
    first, second = table(text, "ma_protocol_step")
    assert (first["method_type"], second["method_type"]) == ("modeling", "model refinement")
    groups = table(text, "ma_data_group")
    kinds = {row["id"]: row["content_type"] for row in table(text, "ma_data")}
    between = [row["data_id"] for row in groups if row["group_id"] == first["output_data_group_id"]]
    assert second["input_data_group_id"] == first["output_data_group_id"]
    assert [kinds[data] for data in between] == ["model coordinates"]
    (model,) = table(text, "ma_model_list")
    last = [row["data_id"] for row in groups if row["group_id"] == second["output_data_group_id"]]
    assert last == [model["data_id"]] and last != between
    programs = {row["pdbx_ordinal"]: row for row in table(text, "software")}
    used = {row["group_id"]: row["software_id"] for row in table(text, "ma_software_group")}
    openmm = programs[used[second["software_group_id"]]]
    assert (openmm["name"], openmm["version"]) == ("OpenMM", "8.6.1")
    assert programs[used[first["software_group_id"]]]["name"] == "minifold"
    settings = {row["name"] for row in table(text, "ma_software_parameter")}
    assert settings == {"relaxed", "openmm"}


def test_templates_are_listed(prediction):
    text = model_cif(replace(prediction, about={"templates": "1abc_A, my fold"}))
    first, second = table(text, "ma_template_details")
    assert (first["template_origin"], first["template_auth_asym_id"]) == ("reference database", "A")
    assert second["template_origin"] == "customized"
    assert table(text, "ma_template_ref_db_details") == [
        {"template_id": "1", "db_name": "PDB", "db_accession_code": "1ABC"}
    ]
    assert table(text, "ma_template_customized")[0]["details"] == "my fold"
    data = {row["id"]: row["name"] for row in table(text, "ma_data")}
    assert data[second["template_data_id"]] == "my fold"
    assert not table(text, "ma_software_parameter")


# Every item of these categories that is written; names as in mmcif_ma.dic 1.4 and the files of
# the AlphaFold database. A misspelt one would be ignored by every other program.
KNOWN = {
    "ma_data": "id name content_type",
    "ma_data_group": "ordinal_id group_id data_id",
    "ma_model_list": "ordinal_id model_id model_group_id model_name model_group_name data_id "
    "model_type",
    "ma_protocol_step": "ordinal_id protocol_id step_id method_type step_name software_group_id "
    "input_data_group_id output_data_group_id",
    "ma_qa_metric": "id name type mode software_group_id",
    "ma_qa_metric_global": "ordinal_id model_id metric_id metric_value",
    "ma_qa_metric_local": "ordinal_id model_id label_asym_id label_seq_id label_comp_id metric_id "
    "metric_value",
    "ma_software_group": "ordinal_id group_id software_id parameter_group_id",
    "ma_software_parameter": "parameter_id group_id data_type name value",
    "ma_target_entity": "entity_id data_id origin",
    "ma_target_entity_instance": "asym_id entity_id",
    "ma_template_details": "ordinal_id template_id template_origin template_entity_type "
    "template_trans_matrix_id template_data_id target_asym_id template_auth_asym_id "
    "template_model_num",
    "ma_template_trans_matrix": "id "
    + " ".join(f"rot_matrix[{i}][{j}]" for i in "123" for j in "123")
    + " tr_vector[1] tr_vector[2] tr_vector[3]",
    "ma_template_ref_db_details": "template_id db_name db_accession_code",
    "ma_template_customized": "template_id details",
}


def test_item_names_are_those_of_the_dictionary(prediction):
    text = model_cif(replace(prediction, about={"a": "1", "templates": "1abc_A,mine"}))
    block = gemmi.cif.read_string(text).sole_block()
    for category, items in KNOWN.items():
        assert list(block.get_mmcif_category(f"_{category}.")) == items.split(), category
    written = {name for name in block.get_mmcif_category_names() if name.startswith("_ma_")}
    assert written == {f"_{category}." for category in KNOWN}


@pytest.mark.parametrize(
    "name", ['it\'s "odd" # 7', "two  words\nand lines", "data_x", "_loop;", "?", "émile", ""]
)
def test_strange_names_survive(prediction, tmp_path, name):
    write_model(replace(prediction, name=name), tmp_path / "x.cif")
    block = gemmi.cif.read(str(tmp_path / "x.cif")).sole_block()
    title = gemmi.cif.as_string(block.find_value("_struct.title"))
    assert title == (" ".join(name.split()) or "model")
    assert gemmi.cif.as_string(block.find_value("_entity.pdbx_description")) == title
    assert re.fullmatch(r"[\w.-]+", block.name)
    file = pdbx.CIFFile.read(tmp_path / "x.cif")
    assert file.block["struct"]["title"].as_item() == title
    assert read_structure(tmp_path / "x.cif").sequence == prediction.sequence


def test_the_same_prediction_gives_the_same_text(prediction):
    assert model_cif(prediction) == model_cif(replace(prediction))


def test_pae_is_laid_out_as_in_the_alphafold_database(prediction):
    ((key, rows), (limit_key, limit)) = json.loads(pae_json(prediction))[0].items()
    assert (key, limit_key) == ("predicted_aligned_error", "max_predicted_aligned_error")
    assert limit == 31.75
    assert all(type(value) is int for row in rows for value in row)
    found = np.array(rows)
    assert found.shape == prediction.pae.shape and found.max() <= 32
    assert np.abs(found - prediction.pae).max() <= 0.5
    assert not np.allclose(found, np.rint(prediction.pae.T))


def test_refusals(prediction, tmp_path):
    with pytest.raises(BadInput, match="predict no aligned error"):
        pae_json(replace(prediction, pae=None))
    with pytest.raises(BadInput, match="ends in .cif"):
        write_model(prediction, tmp_path / "x.pdb")
    (tmp_path / "taken.cif").mkdir()
    with pytest.raises(BadInput, match="cannot be written"):
        write_model(prediction, tmp_path / "taken.cif")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.cif"]
