"""What is known about the twenty amino acids: names, atoms, torsions, ideal geometry.

The facts are in three tables under ``tables/`` (atoms with their rigid group and position, bond
lengths, bond angles); every array below is computed from them when this module is imported.
Arrays have one row per residue type, X (unknown) last, and an X has no atoms.

Sources: AlphaFold2 supplement 1.2.9, 1.8.4, 1.9.11 and Table 2 (atoms, rigid groups);
Engh & Huber 1991 and 2001 (bonds, angles); Bondi 1964 (van der Waals radii).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from minifold.errors import BadInput

# --- Names ----------------------------------------------------------------------------------------

RESTYPES = "ARNDCQEGHILKMFPSTWYV"  # indices 0..19
UNKNOWN, GAP, MASK = 20, 21, 22  # X; the two further tokens of an alignment
NUM_RESTYPES = 21  # with X
RESIDUE_NAMES = (
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL UNK".split()
)
ONE_TO_THREE = dict(zip(RESTYPES + "X", RESIDUE_NAMES, strict=True))
THREE_TO_ONE = {three: one for one, three in ONE_TO_THREE.items()}

# Letter of an alignment → token. B, Z and U become their closest amino acid, as in HHblits.
LETTER_TO_TOKEN = {letter: index for index, letter in enumerate(RESTYPES + "X-")}
LETTER_TO_TOKEN |= {
    "B": RESTYPES.index("D"),
    "Z": RESTYPES.index("E"),
    "U": RESTYPES.index("C"),
    "J": UNKNOWN,
    "O": UNKNOWN,
}

# The 37 atom names that occur in any residue; the order of an atom37 array.
ATOM_TYPES = (
    "N CA C CB O CG CG1 CG2 OG OG1 SG CD CD1 CD2 ND1 ND2 OD1 OD2 SD CE CE1 CE2 CE3 NE NE1 NE2 "
    "OE1 OE2 CH2 NH1 NH2 OH CZ CZ2 CZ3 NZ OXT"
).split()
ATOM_INDEX = {name: index for index, name in enumerate(ATOM_TYPES)}

# --- Torsions and rigid groups --------------------------------------------------------------------

# A rigid group is what turns together about one bond. Pre-omega and phi move no atom of their own.
RIGID_GROUPS = "backbone pre_omega phi psi chi1 chi2 chi3 chi4".split()

# The four atoms of each side-chain torsion, chi1 first; neighbours share three atoms.
CHI_ATOM_NAMES = {
    residue: [tuple(path.split()[k : k + 4]) for k in range(len(path.split()) - 3)]
    for residue, path in {
        "ALA": "",
        "ARG": "N CA CB CG CD NE CZ",
        "ASN": "N CA CB CG OD1",
        "ASP": "N CA CB CG OD1",
        "CYS": "N CA CB SG",
        "GLN": "N CA CB CG CD OE1",
        "GLU": "N CA CB CG CD OE1",
        "GLY": "",
        "HIS": "N CA CB CG ND1",
        "ILE": "N CA CB CG1 CD1",
        "LEU": "N CA CB CG CD1",
        "LYS": "N CA CB CG CD CE NZ",
        "MET": "N CA CB CG SD CE",
        "PHE": "N CA CB CG CD1",
        "PRO": "N CA CB CG CD",
        "SER": "N CA CB OG",
        "THR": "N CA CB OG1",
        "TRP": "N CA CB CG CD1",
        "TYR": "N CA CB CG CD1",
        "VAL": "N CA CB CG1",
        "UNK": "",
    }.items()
}

# Atoms whose names may be exchanged: the molecule is the same after turning chi by 180 degrees
# (supplement, Table 3). The last of these torsions is the one that turns.
AMBIGUOUS_ATOMS = {
    "ASP": {"OD1": "OD2"},
    "GLU": {"OE1": "OE2"},
    "PHE": {"CD1": "CD2", "CE1": "CE2"},
    "TYR": {"CD1": "CD2", "CE1": "CE2"},
}

# --- Geometry between residues --------------------------------------------------------------------

VDW_RADIUS_OF_ELEMENT = {"C": 1.7, "N": 1.55, "O": 1.52, "S": 1.8}  # Å
VDW_RADIUS = np.array([VDW_RADIUS_OF_ELEMENT[name[0]] for name in ATOM_TYPES], np.float32)  # [37]

CA_CA = 3.80209737096  # Å between neighbouring CA atoms, trans peptide
# Peptide bond and its two angles; the bond has other values before proline: (others, proline)
BETWEEN_C_N = (1.329, 1.341)  # Å
BETWEEN_C_N_STDDEV = (0.014, 0.016)
COS_CA_C_N, COS_CA_C_N_STDDEV = -0.4473, 0.0311
COS_C_N_CA, COS_C_N_CA_STDDEV = -0.5203, 0.0353


# --- Arrays ---------------------------------------------------------------------------------------


def _table(name: str) -> list[list[str]]:
    """The rows of a table, without comments and header."""
    text = (Path(__file__).parent / "tables" / name).read_text(encoding="utf-8")
    rows = list(csv.reader(line for line in text.splitlines() if not line.startswith("#")))
    return rows[1:]


def _atom14_arrays() -> tuple[list[list[str]], np.ndarray, np.ndarray]:
    """Names [21][14], rigid group [21, 14] and position in that group [21, 14, 3] of each atom."""
    names: list[list[str]] = [[] for _ in RESIDUE_NAMES]
    group = np.zeros((NUM_RESTYPES, 14), np.int64)
    position = np.zeros((NUM_RESTYPES, 14, 3), np.float32)
    for residue, atom, rigid_group, *xyz in _table("rigid_group_atoms.csv"):
        r = RESIDUE_NAMES.index(residue)
        a = len(names[r])
        names[r].append(atom)
        group[r, a] = RIGID_GROUPS.index(rigid_group)
        position[r, a] = [float(x) for x in xyz]
    return [row + [""] * (14 - len(row)) for row in names], group, position


ATOM14_NAMES, ATOM14_GROUP, ATOM14_POSITIONS = _atom14_arrays()


def _atom_maps() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Index maps between the two atom orders and their masks; an absent atom maps to 0."""
    to37 = np.zeros((NUM_RESTYPES, 14), np.int64)
    to14 = np.zeros((NUM_RESTYPES, 37), np.int64)
    mask14 = np.zeros((NUM_RESTYPES, 14), np.float32)
    mask37 = np.zeros((NUM_RESTYPES, 37), np.float32)
    for r, names in enumerate(ATOM14_NAMES):
        for a, name in enumerate(names):
            if name:
                to37[r, a], to14[r, ATOM_INDEX[name]] = ATOM_INDEX[name], a
                mask14[r, a] = mask37[r, ATOM_INDEX[name]] = 1
    return to37, to14, mask14, mask37


ATOM14_TO_ATOM37, ATOM37_TO_ATOM14, ATOM14_MASK, ATOM37_MASK = _atom_maps()


def _chi_arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms of each chi (atom37 indices), which chis exist, and which have a period of 180°."""
    atoms = np.zeros((NUM_RESTYPES, 4, 4), np.int64)
    mask = np.zeros((NUM_RESTYPES, 4), np.float32)
    periodic = np.zeros((NUM_RESTYPES, 4), np.float32)
    for r, residue in enumerate(RESIDUE_NAMES):
        chis = CHI_ATOM_NAMES[residue]
        for c, names in enumerate(chis):
            atoms[r, c] = [ATOM_INDEX[name] for name in names]
            mask[r, c] = 1
        if residue in AMBIGUOUS_ATOMS:
            periodic[r, len(chis) - 1] = 1
    return atoms, mask, periodic


CHI_ATOMS, CHI_MASK, CHI_PI_PERIODIC = _chi_arrays()


def _renaming() -> tuple[np.ndarray, np.ndarray]:
    """For each atom14 slot the slot of its alternative name, and whether there is one."""
    swap = np.tile(np.arange(14), (NUM_RESTYPES, 1))
    for residue, pairs in AMBIGUOUS_ATOMS.items():
        r = RESIDUE_NAMES.index(residue)
        for one, other in pairs.items():
            a, b = ATOM14_NAMES[r].index(one), ATOM14_NAMES[r].index(other)
            swap[r, a], swap[r, b] = b, a
    return swap, (swap != np.arange(14)).astype(np.float32)


RENAMING, ATOM14_AMBIGUOUS = _renaming()


def _group_arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How to find the frame of each rigid group in a known structure.

    Returns:
        Atoms (tail, head, origin, plane) [21, 8, 4], atom37 indices: the x axis points from tail
        to head, the fourth atom is in the xy plane. Which groups a residue has, and which of them
        carry ambiguous atoms [21, 8]. Pre-omega and phi carry no atoms and are left out.
    """
    atoms = np.zeros((NUM_RESTYPES, 8, 4), np.int64)
    mask = np.zeros((NUM_RESTYPES, 8), np.float32)
    atoms[:, 0] = [ATOM_INDEX[name] for name in ("CA", "C", "CA", "N")]
    atoms[:, 3] = [ATOM_INDEX[name] for name in ("CA", "C", "C", "O")]
    mask[:, [0, 3]] = 1  # an unknown residue has a backbone, too
    atoms[:, 4:] = CHI_ATOMS[:, :, [1, 2, 2, 3]]
    mask[:, 4:] = CHI_MASK
    ambiguous = np.concatenate([np.zeros((NUM_RESTYPES, 4)), CHI_PI_PERIODIC], axis=1)
    return atoms, mask, ambiguous


GROUP_FRAME_ATOMS, GROUP_MASK, GROUP_AMBIGUOUS = _group_arrays()


def _frame(x_axis: np.ndarray, xy_plane: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """4x4 matrix of a frame: x along the first vector, the second in the upper xy half-plane."""
    ex = x_axis / np.linalg.norm(x_axis)
    ey = xy_plane - xy_plane @ ex * ex
    ey = ey / np.linalg.norm(ey)
    frame = np.eye(4)
    frame[:3] = np.stack([ex, ey, np.cross(ex, ey), origin], axis=1)
    return frame


def _rigid_group_frames() -> np.ndarray:
    """[21, 8, 4, 4]: the frame of each group in that of its parent, at torsion angle 0.

    The parent of chi2, chi3 and chi4 is the chi before, that of all others the backbone.
    The x axis of a frame is the bond about which the torsion turns. The matrix of a group that a
    residue does not have is zero, as in DeepMind's table; it carries no atom.
    """
    frames = np.zeros((NUM_RESTYPES, 8, 4, 4))
    frames[:20, :2] = np.eye(4)  # backbone and pre-omega
    for r, residue in enumerate(RESIDUE_NAMES[:20]):
        at = dict(zip(ATOM14_NAMES[r], ATOM14_POSITIONS[r].astype(np.float64), strict=True))
        frames[r, 2] = _frame(at["N"] - at["CA"], np.array([1.0, 0, 0]), at["N"])
        frames[r, 3] = _frame(at["C"] - at["CA"], at["CA"] - at["N"], at["C"])
        for c, (first, second, third, _) in enumerate(CHI_ATOM_NAMES[residue]):
            if c == 0:
                bond, plane = at[third] - at[second], at[first] - at[second]
            else:  # the bond starts at the origin of the parent, whose own bond is along -x
                bond, plane = at[third], np.array([-1.0, 0, 0])
            frames[r, 4 + c] = _frame(bond, plane, at[third])
    return frames.astype(np.float32)


RIGID_GROUP_FRAMES = _rigid_group_frames()


def _bonded_distances() -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [21, 14, 14], Å, of atoms one or two bonds apart; 0 for others."""
    mean, stddev = np.zeros((2, NUM_RESTYPES, 14, 14))
    slots = [{name: a for a, name in enumerate(names)} for names in ATOM14_NAMES]
    for residue, first, second, *numbers in _table("bonds.csv"):
        r = RESIDUE_NAMES.index(residue)
        i, j = slots[r][first], slots[r][second]
        mean[r, i, j], stddev[r, i, j] = mean[r, j, i], stddev[r, j, i] = [
            float(x) for x in numbers
        ]
    for residue, first, middle, last, *numbers in _table("angles.csv"):
        r = RESIDUE_NAMES.index(residue)
        i, m, j = slots[r][first], slots[r][middle], slots[r][last]
        angle, angle_stddev = np.radians([float(x) for x in numbers])
        # law of cosines, and its derivatives by the angle and the two bonds for the deviation
        a, b = mean[r, i, m], mean[r, m, j]
        d = np.sqrt(a**2 + b**2 - 2 * a * b * np.cos(angle))
        by_angle = a * b * np.sin(angle) / d
        by_a, by_b = (a - b * np.cos(angle)) / d, (b - a * np.cos(angle)) / d
        s = np.linalg.norm(
            [by_angle * angle_stddev, by_a * stddev[r, i, m], by_b * stddev[r, m, j]]
        )
        mean[r, i, j] = mean[r, j, i] = d
        stddev[r, i, j] = stddev[r, j, i] = s
    return mean, stddev


_BONDED_MEAN, _BONDED_STDDEV = _bonded_distances()


def distance_bounds(
    overlap_tolerance: float = 1.5, stddev_factor: float = 12.0
) -> tuple[np.ndarray, np.ndarray]:
    """The shortest and longest distance allowed between two atoms of one residue.

    Atoms one or two bonds apart may be ``stddev_factor`` standard deviations off their ideal
    distance. Others may come as close as the sum of their van der Waals radii minus
    ``overlap_tolerance`` Å, and as far apart as they like. Supplement 1.9.11, equation 44 ff.

    Returns:
        Lower and upper bound, each [21, 14, 14], Å; 0 where an atom is absent or is itself.
    """
    radius = VDW_RADIUS[ATOM14_TO_ATOM37]
    lower = radius[:, :, None] + radius[:, None, :] - overlap_tolerance
    upper = np.full_like(lower, 1e10)
    bonded = _BONDED_MEAN > 0
    lower = np.where(bonded, _BONDED_MEAN - stddev_factor * _BONDED_STDDEV, lower)
    upper = np.where(bonded, _BONDED_MEAN + stddev_factor * _BONDED_STDDEV, upper)
    pair = ATOM14_MASK[:, :, None] * ATOM14_MASK[:, None, :] * (1 - np.eye(14))
    return (lower * pair).astype(np.float32), (upper * pair).astype(np.float32)


# --- Sequences ------------------------------------------------------------------------------------

_RARE = "BJOUZ"  # ambiguous or rare amino acids: unknown in a query, as in AlphaFold


def sequence_to_aatype(sequence: str) -> np.ndarray:
    """Residue types [N], 0..20, of a one-letter sequence; B, J, O, U and Z count as X.

    Raises:
        BadInput: the sequence is empty or has another character.
    """
    if not sequence:
        raise BadInput("the sequence is empty; give at least one residue")
    for position, letter in enumerate(sequence, start=1):
        if letter not in RESTYPES and letter not in "X" + _RARE:
            raise BadInput(
                f"{letter!r} at position {position} of the sequence is not an amino acid; "
                f"use the capital letters {RESTYPES} and X for unknown"
            )
    return np.array([(RESTYPES + "X" + _RARE).index(x) for x in sequence]).clip(max=UNKNOWN)


def aatype_to_sequence(aatype: np.ndarray) -> str:
    """One-letter sequence of residue types 0..20.

    Raises:
        BadInput: a value is outside 0..20.
    """
    aatype = np.asarray(aatype)
    if aatype.size and (aatype.min() < 0 or aatype.max() > UNKNOWN):
        raise BadInput(f"a residue type is 0 to 20, not {aatype.min()} or {aatype.max()}")
    return "".join((RESTYPES + "X")[int(index)] for index in aatype)
