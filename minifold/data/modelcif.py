"""Predictions as files that other programs understand.

``model_cif`` writes mmCIF with the categories of ModelCIF, the dictionary of computed structures,
as the AlphaFold database uses them: pLDDT of every residue and of the whole, what was computed
from what, by which program with which settings. ``pae_json`` is the predicted aligned error as the
JSON of that database; it is not in the mmCIF, there and here: n residues have n² of them.

Sources: ModelCIF dictionary 1.4 (Vallat et al. 2023, J. Mol. Biol. 435, 168021); files and PAE
format of the AlphaFold database, version 6.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gemmi import cif

from minifold import __version__
from minifold.data.files import write_text
from minifold.data.residues import ATOM_TYPES, ONE_TO_THREE
from minifold.errors import BadInput

Table = dict[str, list]  # columns of equal length; None is "?", False is "."

DICTIONARY = "https://raw.githubusercontent.com/ihmwg/ModelCIF/master/dist/mmcif_ma.dic"
DESCRIPTION = "AlphaFold2 in PyTorch, as a course"
MAX_PAE = 31.75  # Å, centre of the last bin: no predicted error is larger
TARGET, ALIGNMENT, MODEL, TEMPLATE = 1, 2, 3, 4  # rows of _ma_data; templates come last
PDB_CHAIN = re.compile(r"([0-9][A-Za-z0-9]{3})[_.]?([A-Za-z0-9]*)")


@runtime_checkable
class Predicted(Protocol):
    """What is written of a ``minifold.Prediction`` of n residues."""

    name: str
    sequence: str
    residue_index: np.ndarray  # [n], increasing
    positions: np.ndarray  # [n, 37, 3], Å
    atom_mask: np.ndarray  # [n, 37]
    plddt: np.ndarray  # [n], 0 to 100
    pae: np.ndarray | None  # [n, n], Å
    ptm: float | None
    about: dict[str, Any]


def write_model(prediction: Predicted, path: str | Path) -> None:
    """Write ``model_cif`` to a .cif or .mmcif file, whole or not at all.

    Raises:
        BadInput: the suffix is another one, or the file cannot be written.
    """
    if Path(path).suffix.lower() not in (".cif", ".mmcif"):
        raise BadInput(f"{path}: a ModelCIF file ends in .cif; choose such a name")
    write_text(path, model_cif(prediction))


def pae_json(prediction: Predicted) -> str:
    """The predicted aligned error as JSON, laid out as in the AlphaFold database.

    Row i, column j: error of residue j after superposition on residue i, whole Å, as there.

    Raises:
        BadInput: the model has no head for it.
    """
    if prediction.pae is None:
        raise BadInput(
            f"{prediction.name}: these weights predict no aligned error; "
            "use weights with a PAE head, such as alphafold2_ptm"
        )
    rows = np.rint(prediction.pae).astype(int).tolist()
    table = [{"predicted_aligned_error": rows, "max_predicted_aligned_error": MAX_PAE}]
    return json.dumps(table, separators=(",", ":")) + "\n"


def model_cif(prediction: Predicted) -> str:
    """The prediction as ModelCIF text.

    ``residue_index`` + 1 is the number of a residue everywhere, label and author: numbers may
    have gaps. The name stands as it is in ``_struct.title`` and ``_entity.pdbx_description``, and
    without spaces and quotes as the name of the entry. All of ``about`` but times becomes
    ``_ma_software_parameter``, except ``about["templates"]``: names with commas between them,
    such as "1abc_A,2xyz_B", become ``_ma_template_*``. ``about["openmm"]``, a version, makes the
    relaxation a step of its own.
    """
    block = cif.Block(_entry_name(prediction.name))
    for tables in (
        _entry(prediction, block.name),
        _entity(prediction),
        _provenance(prediction),
        _confidence(prediction),
        {"atom_site": _atoms(prediction)},
    ):
        for category, table in tables.items():
            block.set_mmcif_category(f"_{category}.", table)
    document = cif.Document()
    document.add_copied_block(block)
    return document.as_string(cif.Style.Pdbx)


def _entry_name(name: str) -> str:
    """A name without what would end it in a CIF file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_") or "model"


def _title(prediction: Predicted) -> str:
    return " ".join(prediction.name.split()) or "model"


def _residue_names(prediction: Predicted) -> list[str]:
    return [ONE_TO_THREE[letter] for letter in prediction.sequence]


def _numbers(prediction: Predicted) -> list[int]:
    return [int(index) + 1 for index in prediction.residue_index]


def _row(**items: Any) -> Table:
    return {name: [value] for name, value in items.items()}


# --- The categories -------------------------------------------------------------------------------


def _entry(prediction: Predicted, name: str) -> dict[str, Table]:
    return {
        "entry": _row(id=name),
        "struct": _row(entry_id=name, title=_title(prediction)),
        "audit_conform": _row(
            dict_name="mmcif_ma.dic", dict_version="1.4.6", dict_location=DICTIONARY
        ),
    }


def _entity(prediction: Predicted) -> dict[str, Table]:
    """What molecule it is: one polymer, one chain A."""
    sequence, names, numbers = prediction.sequence, _residue_names(prediction), _numbers(prediction)
    n = len(sequence)
    kinds = sorted(set(names))
    return {
        "chem_comp": {
            "id": kinds,
            "type": ["peptide linking" if x == "GLY" else "L-peptide linking" for x in kinds],
            "mon_nstd_flag": [x != "UNK" and "y" for x in kinds],
        },
        "entity": _row(
            id=1,
            type="polymer",
            src_method="man",
            pdbx_description=_title(prediction),
            pdbx_number_of_molecules=1,
        ),
        "entity_poly": _row(
            entity_id=1,
            type="polypeptide(L)",
            nstd_linkage="no",
            nstd_monomer="yes" if "X" in sequence else "no",
            pdbx_seq_one_letter_code=_wrapped(sequence.replace("X", "(UNK)")),
            pdbx_seq_one_letter_code_can=_wrapped(sequence),
            pdbx_strand_id="A",
        ),
        "entity_poly_seq": {
            "entity_id": [1] * n,
            "num": numbers,
            "mon_id": names,
            "hetero": ["n"] * n,
        },
        "struct_asym": _row(id="A", entity_id=1),
        "pdbx_poly_seq_scheme": {
            "asym_id": ["A"] * n,
            "entity_id": [1] * n,
            "seq_id": numbers,
            "mon_id": names,
            "pdb_seq_num": numbers,
            "auth_seq_num": numbers,
            "pdb_mon_id": names,
            "pdb_strand_id": ["A"] * n,
            "pdb_ins_code": [False] * n,
            "hetero": ["n"] * n,
        },
    }


def _wrapped(sequence: str) -> str:
    """80 letters a line."""
    return "\n".join(sequence[k : k + 80] for k in range(0, len(sequence), 80))


def _provenance(prediction: Predicted) -> dict[str, Table]:
    """What was computed from what, by which program, with which settings."""
    about = prediction.about
    settings = {
        key: value
        for key, value in about.items()
        if key != "templates" and not key.endswith("seconds")
    }
    templates = [x.strip() for x in str(about.get("templates", "")).split(",")]
    templates = [name for name in templates if name]
    aligned, openmm = int(settings.get("sequences") or 1) > 1, about.get("openmm")
    # (data, name, content, group): group 1 goes in, group 2 comes out, group 3 is between
    data = [(TARGET, "Target sequence", "target", 1), (MODEL, "Model", "model coordinates", 2)]
    if aligned:
        data.append((ALIGNMENT, "Sequence alignment", "coevolution MSA", 1))
    data += [(TEMPLATE + k, name, "template structure", 1) for k, name in enumerate(templates)]
    software = [(1, "minifold", __version__, "package", "model building", DESCRIPTION)]
    step = "structure prediction" + (" from an alignment" if aligned else " from one sequence")
    steps = [("modeling", step, 1, 1, 2)]  # program, group that goes in, group that comes out
    if openmm:
        unrelaxed = TEMPLATE + len(templates)
        data.append((unrelaxed, "Model before relaxation", "model coordinates", 3))
        software.append((2, "OpenMM", openmm, "package", "model refinement", "Molecular mechanics"))
        steps = [
            ("modeling", step, 1, 1, 3),
            ("model refinement", "restrained energy minimisation", 2, 3, 2),
        ]
    data.sort()
    return {
        "software": _columns("pdbx_ordinal name version type classification description", software),
        "ma_software_group": _columns(
            "ordinal_id group_id software_id parameter_group_id",
            [(k, k, k, 1 if k == 1 else None) for k, *_ in software],
        ),
        "ma_software_parameter": _columns(
            "parameter_id group_id data_type name value",
            [
                (k, 1, _data_type(value), key, str(value).strip() or None)
                for k, (key, value) in enumerate(settings.items(), start=1)
            ],
        ),
        "ma_data": _columns("id name content_type", [row[:3] for row in data]),
        "ma_data_group": _columns(
            "ordinal_id group_id data_id",
            [(k, group, number) for k, (number, _, _, group) in enumerate(data, start=1)],
        ),
        "ma_target_entity": _row(entity_id=1, data_id=TARGET, origin="designed"),
        "ma_target_entity_instance": _row(asym_id="A", entity_id=1),
        "ma_protocol_step": _columns(
            "ordinal_id protocol_id step_id method_type step_name software_group_id "
            "input_data_group_id output_data_group_id",
            [(k, 1, k, *row) for k, row in enumerate(steps, start=1)],
        ),
        "ma_model_list": _row(
            ordinal_id=1,
            model_id=1,
            model_group_id=1,
            model_name=_title(prediction),
            model_group_name=f"minifold {__version__} model",
            data_id=MODEL,
            model_type="Ab initio model",
        ),
        **_template_tables(templates),
    }


def _data_type(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "float"}
    return kinds.get(type(value), "string")


def _template_tables(names: list[str]) -> dict[str, Table]:
    """Templates: PDB chains by their code, others as the user's own. None without templates."""
    if not names:
        return {}
    matrix = {f"rot_matrix[{i}][{j}]": float(i == j) for i in (1, 2, 3) for j in (1, 2, 3)}
    vector = {f"tr_vector[{i}]": 0.0 for i in (1, 2, 3)}
    found = [PDB_CHAIN.fullmatch(name) for name in names]
    tables = {
        "ma_template_details": _columns(
            "ordinal_id template_id template_origin template_entity_type template_trans_matrix_id "
            "template_data_id target_asym_id template_auth_asym_id template_model_num",
            [
                (k, k, "reference database" if pdb else "customized", "polymer", 1)
                + (TEMPLATE + k - 1, "A", pdb and pdb[2] or None, 1)
                for k, pdb in enumerate(found, start=1)
            ],
        ),
        "ma_template_trans_matrix": _row(id=1, **matrix, **vector),
        "ma_template_ref_db_details": _columns(
            "template_id db_name db_accession_code",
            [(k, "PDB", pdb[1].upper()) for k, pdb in enumerate(found, start=1) if pdb],
        ),
        "ma_template_customized": _columns(
            "template_id details",
            [(k + 1, names[k]) for k, pdb in enumerate(found) if not pdb],
        ),
    }
    return {category: table for category, table in tables.items() if any(table.values())}


def _confidence(prediction: Predicted) -> dict[str, Table]:
    """pLDDT of the whole (the mean) and of each residue, two decimals; pTM if it is there."""
    names, numbers, n = _residue_names(prediction), _numbers(prediction), len(prediction.sequence)
    metrics = [(1, "pLDDT", "pLDDT", "global", 1), (2, "pLDDT", "pLDDT", "local", 1)]
    overall = [(1, 1, 1, f"{prediction.plddt.mean():.2f}")]
    if prediction.ptm is not None:
        metrics.append((3, "pTM", "pTM", "global", 1))
        overall.append((2, 1, 3, f"{prediction.ptm:.2f}"))
    return {
        "ma_qa_metric": _columns("id name type mode software_group_id", metrics),
        "ma_qa_metric_global": _columns("ordinal_id model_id metric_id metric_value", overall),
        "ma_qa_metric_local": {
            "ordinal_id": list(range(1, n + 1)),
            "model_id": [1] * n,
            "label_asym_id": ["A"] * n,
            "label_seq_id": numbers,
            "label_comp_id": names,
            "metric_id": [2] * n,
            "metric_value": [f"{value:.2f}" for value in prediction.plddt],
        },
    }


def _atoms(prediction: Predicted) -> Table:
    """One row an atom; the B-factor is the pLDDT of its residue."""
    names, numbers = _residue_names(prediction), _numbers(prediction)
    rows = []
    for i, slot in zip(*np.nonzero(prediction.atom_mask)):
        atom = ATOM_TYPES[slot]
        x, y, z = (f"{value:.3f}" for value in prediction.positions[i, slot])
        b_factor = f"{prediction.plddt[i]:.2f}"
        rows.append(
            ("ATOM", len(rows) + 1, atom[0], atom, False, names[i], "A", 1, numbers[i], None)
            + (x, y, z, "1.00", b_factor, None, numbers[i], names[i], "A", atom, 1)
        )
    return _columns(
        "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
        "label_entity_id label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy "
        "B_iso_or_equiv pdbx_formal_charge auth_seq_id auth_comp_id auth_asym_id auth_atom_id "
        "pdbx_PDB_model_num",
        rows,
    )


def _columns(names: str, rows: list[tuple]) -> Table:
    """Rows as columns; without rows, columns without values."""
    return {name: [row[k] for row in rows] for k, name in enumerate(names.split())}
