"""Write data/structures/*.cif from the coordinate tables in data/structures/coordinates.

    python scripts/build_structures.py [FOLDER]

The result is the same byte for byte each time (tests/test_shipped_data.py compares).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import gemmi
import numpy as np

from minifold.data.files import write_text
from minifold.data.residues import ATOM_INDEX, THREE_TO_ONE
from minifold.data.structures import Chain, cif_text, to_gemmi

STRUCTURES = Path(__file__).parent.parent / "data" / "structures"
UNRESOLVED = {"1R69": "SDSNVR"}  # residues at the C-terminus that the experiment did not locate


def read_table(path: Path) -> tuple[dict[str, str], list[tuple[int, str, str, list[float]]]]:
    """The "# key: value" lines and the atoms (residue number, residue, atom, xyz) of a table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    facts = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    atoms = [
        (int(r["res_num"]), r["res_name"], r["atom"], [float(r[axis]) for axis in "xyz"])
        for r in rows
    ]
    return facts, atoms


def build(path: Path) -> str:
    """The mmCIF text of one table."""
    facts, atoms = read_table(path)
    entry = facts["PDB id"]
    sequence = facts["sequence"] + UNRESOLVED.get(entry, "")
    first = atoms[0][0]
    positions = np.zeros((len(sequence), 37, 3), np.float32)
    mask = np.zeros((len(sequence), 37), np.float32)
    for number, residue, atom, xyz in atoms:
        if THREE_TO_ONE[residue] != sequence[number - first]:
            raise ValueError(f"{path}: residue {number} is not {sequence[number - first]}")
        positions[number - first, ATOM_INDEX[atom]] = xyz
        mask[number - first, ATOM_INDEX[atom]] = 1
    resolution = facts["resolution"].split()[0]
    chain = Chain(
        sequence=sequence,
        positions=positions,
        mask=mask,
        residue_index=np.arange(len(sequence), dtype=np.int32),
        b_factors=np.zeros(len(sequence), np.float32),
        name=entry,
        resolution=float(resolution) if resolution != "not" else None,
        method=facts["method"].split(" (")[0],
    )
    structure = to_gemmi(chain)
    structure.info["_struct.title"] = facts["title"]
    for residue in structure[0]["A"]:
        residue.seqid.num += first - 1  # the author's numbers
    for bond in facts["disulfide bonds"].split(", "):
        if "-" in bond:
            structure.connections.append(disulfide(structure, *map(int, bond.split("-"))))
    return cif_text(structure)


def disulfide(structure: gemmi.Structure, one: int, other: int) -> gemmi.Connection:
    """The bond between two cysteines, by the author's numbers."""
    bond = gemmi.Connection()
    bond.type = gemmi.ConnectionType.Disulf
    bond.name = f"disulf_{one}_{other}"
    bond.partner1, bond.partner2 = (
        gemmi.make_address(structure[0]["A"], residue, residue["SG"][0])
        for residue in (structure[0]["A"][str(number)][0] for number in (one, other))
    )
    bond.reported_distance = round(
        structure[0]
        .find_cra(bond.partner1)
        .atom.pos.dist(structure[0].find_cra(bond.partner2).atom.pos),
        3,
    )
    return bond


def main(folder: Path) -> None:
    for path in sorted((STRUCTURES / "coordinates").glob("*.csv")):
        write_text(folder / f"{path.stem}.cif", build(path))
        print(folder / f"{path.stem}.cif")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else STRUCTURES)
