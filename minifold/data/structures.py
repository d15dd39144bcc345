"""Protein chains from mmCIF and PDB files, through gemmi, and back.

A ``Chain`` has the full sequence (as far as the file tells it), and for each residue the 37 atom
slots of ``residues.ATOM_TYPES``; what the experiment did not see has mask 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float, Int

from minifold.data.files import write_text
from minifold.data.residues import (
    ATOM37_MASK,
    ATOM_INDEX,
    ATOM_TYPES,
    LETTER_TO_TOKEN,
    ONE_TO_THREE,
    RESTYPES,
    UNKNOWN,
    sequence_to_aatype,
)
from minifold.errors import BadInput

TOKEN_LETTERS = RESTYPES + "X"
BACKBONE = ("N", "CA", "C", "O", "CB")
CAPS = ("ACE", "FOR", "NH2", "NME")  # at the ends of a chain; no residues
SELENIUM = {("MSE", "SE"): "SD", ("SEC", "SE"): "SG"}
CIF_GROUPS = (
    "block_name entry entity entity_poly exptl refine title_keywords struct_asym conn atom_type "
    "entity_poly_seq atoms group_pdb auth_all"
).split()
CODES = ["pdbx_seq_one_letter_code", "pdbx_seq_one_letter_code_can"]
CIF_SUFFIXES, PDB_SUFFIXES = (".cif", ".mmcif"), (".pdb", ".ent")


@dataclass(frozen=True)
class Chain:
    """One protein chain of N residues. Å; NaN never occurs in it."""

    sequence: str  # one letter each, X for unknown
    positions: Float[np.ndarray, "n 37 3"]  # 0 where unknown
    mask: Float[np.ndarray, "n 37"]  # 1 where the atom has coordinates
    residue_index: Int[np.ndarray, " n"]  # int32, increasing; a step above 1 is a gap
    b_factors: Float[np.ndarray, " n"]  # of CA, Å²; pLDDT in predictions
    chain_id: str = "A"
    name: str = ""
    resolution: float | None = None  # Å; None where the method has none
    method: str = ""

    @property
    def aatype(self) -> Int[np.ndarray, " n"]:
        """Residue types 0..20."""
        return sequence_to_aatype(self.sequence)


# --- Reading --------------------------------------------------------------------------------------


def read_structure(path: str | Path, chain: str | None = None, model: int = 0) -> Chain:
    """One protein chain of an mmCIF or PDB file (also .gz).

    - Sequence: what was in the experiment (entity_poly_seq, SEQRES) where the file has it, so
      unresolved residues are there with mask 0; else the residues with coordinates.
    - ``residue_index``: place in that sequence; without one, label_seq_id - 1 (mmCIF), or the
      author's numbers, in which insertion codes become steps of 1.
    - Alternative locations: in each residue the conformer of highest occupancy, all its atoms; of
      equal ones the conformer of the residue before. The same decides between residue types.
    - Modified residues become their parents (MSE: M, its SE is SD); atoms a parent lacks go, and
      so do caps at the ends (acetyl, amide).

    Args:
        path: .cif, .mmcif, .pdb or .ent.
        chain: author or label name; default: the first protein chain.
        model: which model of an NMR ensemble, from 0.

    Raises:
        BadInput: unreadable or wrong file, no such model or chain, or no protein with CA atoms.
    """
    try:
        return _read(Path(path), chain, model)
    except UnicodeDecodeError:
        raise BadInput(f"{path} has names that are not text; download it again") from None


def structure_files(*places: str | Path) -> list[Path]:
    """The structure files among these files and, by their suffix, below these folders.

    Raises:
        BadInput: there is no such file or folder, or a file is no structure file.
    """
    files = []
    for place in map(Path, places):
        if place.is_dir():
            files += [path for path in sorted(place.rglob("*")) if _is_structure_file(path)]
        elif _is_structure_file(place):
            files.append(place)
        else:
            known = ", ".join(CIF_SUFFIXES + PDB_SUFFIXES)
            raise BadInput(f"{place} is not a folder or a structure file ({known})")
    return files


def _is_structure_file(path: Path) -> bool:
    suffixes = CIF_SUFFIXES + PDB_SUFFIXES
    return path.is_file() and path.name.lower().removesuffix(".gz").endswith(suffixes)


def protein_chains(path: str | Path) -> dict[str, str]:
    """Entity → author's name of its first chain, for each protein of L-amino acids in a file.

    Raises:
        BadInput: as ``read_structure``.
    """
    try:
        return _protein_chains(_parse(Path(path)))
    except UnicodeDecodeError:
        raise BadInput(f"{path} has names that are not text; download it again") from None


def _protein_chains(structure: gemmi.Structure) -> dict[str, str]:
    first: dict[str, str] = {}
    for chain in structure[0]:
        for span in chain.subchains():
            entity = structure.get_entity_of(span)
            if entity is None or entity.entity_type != gemmi.EntityType.Polymer:
                continue
            kind = entity.polymer_type
            if kind == gemmi.PolymerType.Unknown:
                kind = span.check_polymer_type()
            if kind == gemmi.PolymerType.PeptideL:
                first.setdefault(entity.name, chain.name)
    return first


def _read(path: Path, chain: str | None, model: int) -> Chain:
    structure = _parse(path)
    if not 0 <= model < len(structure):
        raise BadInput(f"{path} has {len(structure)} models (from 0); there is no model {model}")
    author_name, polymer = _choose_chain(structure, structure[model], chain, str(path))
    names, index, observed = _places(structure, polymer)
    positions = np.zeros((len(names), 37, 3), np.float32)
    mask = np.zeros((len(names), 37), np.float32)
    b_factors = np.zeros(len(names), np.float32)
    altloc = ""
    for place, group in observed:
        residue, altloc = _conformer(group, altloc)
        names[place] = residue.name
        for slot, atom in _atoms(residue, altloc, _letter(residue.name, structure)).items():
            positions[place, slot], mask[place, slot] = atom.pos.tolist(), 1
            if slot == ATOM_INDEX["CA"]:
                b_factors[place] = np.nan_to_num(atom.b_iso)
    if not mask[:, ATOM_INDEX["CA"]].any():
        raise BadInput(f"{path}: chain {author_name} has no CA atoms; give a protein structure")
    return Chain(
        sequence="".join(_letter(name, structure) for name in names),
        positions=positions,
        mask=mask,
        residue_index=index,
        b_factors=b_factors,
        chain_id=author_name,
        name=structure.name.strip() or path.name.split(".")[0],
        resolution=structure.resolution or None,
        method=dict(structure.info).get("_exptl.method", ""),
    )


def _parse(path: Path) -> gemmi.Structure:
    """What gemmi reads, with entities and, where SEQRES allows, label_seq for PDB files too."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in CIF_SUFFIXES + PDB_SUFFIXES:
        known = ", ".join(CIF_SUFFIXES + PDB_SUFFIXES)
        raise BadInput(f"{path}: a structure file ends in {known}; rename or convert it")
    if not path.is_file():
        raise BadInput(f"{path} does not exist or is not a file; check the name")
    form = gemmi.CoorFormat.Mmcif if suffix in CIF_SUFFIXES else gemmi.CoorFormat.Pdb
    try:
        structure = gemmi.read_structure(str(path), format=form)
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        reason = " ".join(str(error).split()).removeprefix(f"{path}:")
        raise BadInput(
            f"{path}: not a complete {suffix[1:]} file ({reason}); download it again"
        ) from None
    if not len(structure) or not structure[0].count_atom_sites():
        raise BadInput(f"{path} has no atoms; is it really a {suffix[1:]} file of a structure?")
    structure.setup_entities()
    if form == gemmi.CoorFormat.Pdb:
        structure.assign_label_seq_id()
    return structure


def _choose_chain(
    structure: gemmi.Structure, model: gemmi.Model, wanted: str | None, path: str
) -> tuple[str, gemmi.ResidueSpan]:
    """Author name and polymer residues of the wanted protein chain, or of the first one."""
    proteins, others = [], []  # (author name, label name, residues)
    for chain in model:
        for span in chain.subchains():
            entity = structure.get_entity_of(span)
            if entity is None or entity.entity_type != gemmi.EntityType.Polymer:
                continue
            kind = entity.polymer_type
            if kind == gemmi.PolymerType.Unknown:
                kind = span.check_polymer_type()
            is_protein = kind in (gemmi.PolymerType.PeptideL, gemmi.PolymerType.PeptideD)
            (proteins if is_protein else others).append(
                (chain.name, span.subchain_id(), span, kind)
            )
    available = ", ".join(dict.fromkeys(name for name, *_ in proteins)) or "none"
    for place in (0, 1):  # author names go before label names
        for found in proteins:
            if wanted is None or found[place] == wanted:
                return found[0], found[2]
        for found in others:
            if found[place] == wanted:
                raise BadInput(
                    f"{path}: chain {wanted} is {found[3].name.upper()}, not protein; "
                    f"choose one of the protein chains: {available}"
                )
    if wanted is None:
        kinds = ", ".join(f"{name} ({kind.name.upper()})" for name, _, _, kind in others)
        raise BadInput(f"{path} has no protein chain ({kinds or 'no polymer'}); give another file")
    raise BadInput(f"{path} has no chain {wanted}; choose one of the protein chains: {available}")


def _places(
    structure: gemmi.Structure, polymer: gemmi.ResidueSpan
) -> tuple[list[str], np.ndarray, list[tuple[int, list[gemmi.Residue]]]]:
    """Residue names of the whole sequence, their index, and place and residues of what was seen.

    Residues that share a place are alternatives (microheterogeneity).
    """
    groups = [list(group) for group in polymer.residue_groups()]
    groups = [group for group in groups if group[0].name not in CAPS]
    label = [group[0].label_seq for group in groups]
    labelled = None not in label and all(a < b for a, b in zip(label, label[1:]))
    whole = [gemmi.Entity.first_mon(x) for x in structure.get_entity_of(polymer).full_sequence]
    if labelled and label and whole and label[0] >= 1 and label[-1] <= len(whole):
        names = [name for name in whole if name not in CAPS]
        start = 2 if whole[0] in CAPS else 1
        places = [number - start for number in label]
        return names, np.arange(len(names), dtype=np.int32), list(zip(places, groups))
    if labelled:
        index = np.array(label) - 1
    else:
        numbers = np.array([group[0].seqid.num for group in groups])
        index = np.cumsum(np.diff(numbers, prepend=0).clip(min=1)) - 1
    return [g[0].name for g in groups], index.astype(np.int32), list(enumerate(groups))


def _letter(name: str, structure: gemmi.Structure) -> str:
    """One-letter code of a residue name; that of the parent if it is modified; X if unknown."""
    letter = gemmi.find_tabulated_residue(name).one_letter_code.upper()
    if letter in ("", " ", "X"):
        parents = {m.res_id.name: m.parent_comp_id for m in structure.mod_residues}
        parent = parents.get(name, "").split(",")[0]
        letter = gemmi.find_tabulated_residue(parent).one_letter_code.upper()
    return TOKEN_LETTERS[LETTER_TO_TOKEN.get(letter, UNKNOWN)]


def _conformer(group: list[gemmi.Residue], before: str) -> tuple[gemmi.Residue, str]:
    """The residue and altloc letter with the highest mean occupancy ("" where there is no choice).

    Of equal ones that with the letter of the residue before, then the first.
    """
    choices = []
    for residue in group:
        occupancy: dict[str, list[float]] = {}
        for atom in residue:
            if atom.has_altloc():
                occupancy.setdefault(atom.altloc, []).append(atom.occ)
        for letter, values in sorted(occupancy.items()):
            choices.append((round(float(np.mean(values)), 3), letter == before, residue, letter))
        if not occupancy:
            choices.append((1.0, False, residue, ""))
    _, _, residue, letter = max(choices, key=lambda choice: choice[:2])
    return residue, letter


def _atoms(residue: gemmi.Residue, altloc: str, letter: str) -> dict[int, gemmi.Atom]:
    """Atoms of one conformer by their atom37 slot; only finite ones that the residue type has.

    Backbone atoms that this conformer lacks come from the others, highest occupancy first.
    """
    allowed = {ATOM_INDEX[name] for name in BACKBONE}
    if letter != "X":
        allowed = set(np.flatnonzero(ATOM37_MASK[RESTYPES.index(letter)])) | {ATOM_INDEX["OXT"]}
    found: dict[int, gemmi.Atom] = {}
    for atom in sorted(residue, key=lambda a: (a.has_altloc() and a.altloc != altloc, -a.occ)):
        slot = ATOM_INDEX.get(SELENIUM.get((residue.name, atom.name), atom.name))
        if slot not in allowed or slot in found or not np.isfinite(atom.pos.tolist()).all():
            continue
        if atom.has_altloc() and atom.altloc != altloc and atom.name not in BACKBONE:
            continue
        found[slot] = atom
    return found


# --- Writing --------------------------------------------------------------------------------------


def to_gemmi(chain: Chain) -> gemmi.Structure:
    """The chain as a gemmi structure of one model, its full sequence included.

    ``residue_index`` + 1 becomes the author's number. The sequence record (entity_poly_seq,
    SEQRES) is left out where residue_index does not count 0, 1, 2, ...: it would close the gaps.
    """
    structure = gemmi.Structure()
    structure.name = chain.name or "minifold"
    structure.resolution = chain.resolution or 0.0
    structure.info["_entry.id"] = structure.name
    if chain.method:
        structure.info["_exptl.method"] = chain.method
    if chain.resolution:
        refinement = gemmi.RefinementInfo()
        refinement.id, refinement.resolution_high = chain.method or "?", chain.resolution
        structure.meta.refinement = [refinement]
    label = chain.chain_id if chain.chain_id.isalnum() else "A"
    residues = gemmi.Chain(chain.chain_id or "A")
    for i, letter in enumerate(chain.sequence):
        if not chain.mask[i].any():
            continue
        residue = gemmi.Residue()
        residue.name = ONE_TO_THREE[letter]
        residue.seqid = gemmi.SeqId(int(chain.residue_index[i]) + 1, " ")
        residue.label_seq = int(chain.residue_index[i]) + 1
        residue.subchain, residue.entity_id = label, "1"
        residue.entity_type = gemmi.EntityType.Polymer
        residue.het_flag = "A"
        for slot in np.flatnonzero(chain.mask[i]):
            atom = gemmi.Atom()
            atom.name, atom.element = ATOM_TYPES[slot], gemmi.Element(ATOM_TYPES[slot][0])
            atom.pos = gemmi.Position(*(round(float(x), 3) for x in chain.positions[i, slot]))
            atom.b_iso = round(float(chain.b_factors[i]), 2)
            residue.add_atom(atom)
        residues.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(residues)
    structure.add_model(model)
    entity = gemmi.Entity("1")
    entity.entity_type = gemmi.EntityType.Polymer
    entity.polymer_type = gemmi.PolymerType.PeptideL
    entity.subchains = [label]
    if (chain.residue_index == np.arange(len(chain.sequence))).all():
        entity.full_sequence = [ONE_TO_THREE[letter] for letter in chain.sequence]
    structure.entities.append(entity)
    return structure


def to_cif(chain: Chain) -> str:
    """The chain as mmCIF text."""
    return cif_text(to_gemmi(chain))


def to_pdb(chain: Chain) -> str:
    """The chain as PDB text; a chain name of several letters is shortened."""
    structure = to_gemmi(chain)
    structure.shorten_chain_names()
    return structure.make_pdb_string()


def cif_text(structure: gemmi.Structure) -> str:
    """A gemmi structure as mmCIF text, without the categories that would have no content."""
    groups = gemmi.MmcifOutputGroups(False)
    for group in CIF_GROUPS:
        setattr(groups, group, True)
    document = structure.make_mmcif_document(groups)
    sequences = document[0].find_loop("_entity_poly.pdbx_seq_one_letter_code").get_loop()
    if sequences is not None:  # the same without modified residues, of which we have none
        sequences.add_columns(["_entity_poly.pdbx_seq_one_letter_code_can"], "?")
        table = document[0].find("_entity_poly.", CODES)
        for row in table:
            row[1] = row[0].replace("(UNK)", "X")
    return document.as_string()


def check_suffix(path: str | Path) -> str:
    """The suffix of a file that ``write_structure`` can write.

    Raises:
        BadInput: it is another one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in CIF_SUFFIXES + PDB_SUFFIXES:
        raise BadInput(f"{path}: structures are written as .cif or .pdb; choose such a name")
    return suffix


def write_structure(chain: Chain, path: str | Path) -> None:
    """Write .cif (.mmcif) or .pdb (.ent), whole or not at all.

    Raises:
        BadInput: the suffix is another one, or the file cannot be written.
    """
    is_cif = check_suffix(path) in CIF_SUFFIXES
    write_text(path, to_cif(chain) if is_cif else to_pdb(chain))
