"""Relaxation: the nearest structure that chemistry allows (supplement 1.8.6).

    Chain ─ missing atoms ─ hydrogens ─ springs on the heavy atoms ─┐
               ┌────────────────────────────────────────────────────┘
               └→ minimise ─ violations? ─ none: done
                     └─ cut the springs of those residues, shake their side chains

The force field is AMBER ff14SB, the water is implicit (GBn2); pdbfixer adds what is missing and
OpenMM minimises. Both are optional. What counts as a violation is decided by
``minifold.physics.violations``. On one machine the same seed gives the same structure: OpenMM
runs in one thread, and the force that takes 98 % of the time gains nothing from more.

Not in the supplement: the order of the forces and the shaking (deviation D34 of DEVIATIONS.md).
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm import tqdm

from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain, to_pdb
from minifold.errors import BadInput
from minifold.model.atoms import atom37_to_atom14
from minifold.physics.violations import Violations, find_violations

FORCE_FIELD = ("amber14/protein.ff14SB.xml", "implicit/gbn2.xml")
METHOD = "AMBER ff14SB, GBn2"  # and how they are called
STIFFNESS = 10.0  # kcal/mol/Å², of the springs
ROUNDS = 8  # at most
SHAKE = 2.0  # Å, standard deviation
KJ, ANGSTROM = 4.184, 0.1  # of a kcal, of a nm: OpenMM's units are kJ/mol and nm
BONDED, CONTACTS, WATER, SPRINGS = range(4)  # groups of forces
LABELS = {"connection": "peptide bond", "clash": "clash", "within": "inside", "any": "any"}
BACKBONE = "N CA C O OXT CB H H1 H2 H3 HA HA2 HA3".split()


@dataclass(frozen=True)
class Relaxation:
    """A relaxed chain, and what the relaxation did to it."""

    chain: Chain  # heavy atoms; those that were missing are there now
    before: dict[str, int]  # residues with a violation, by kind
    after: dict[str, int]
    rounds: int  # minimisations that it took
    released: int  # residues whose springs were cut
    mirrored: int  # residues that were L and are D now: the input was too distorted there
    energy: float  # kcal/mol, without the springs
    rmsd_ca: float  # Å between input and result as they stand, not superposed

    def report(self) -> dict:
        """What ``minifold relax --json`` prints."""
        return {
            "violations_before": self.before,
            "violations_after": self.after,
            "rounds": self.rounds,
            "released": self.released,
            "mirrored": self.mirrored,
            "energy": round(self.energy, 1),
            "rmsd_ca": round(self.rmsd_ca, 3),
        }

    def table(self) -> str:
        """The same for people."""
        turned = f"{self.mirrored} residues have become D amino acids: the input is too distorted"
        return "\n".join(
            [
                f"{self.chain.name}: {self.energy:.0f} kcal/mol after {self.rounds} rounds, "
                f"Cα moved {self.rmsd_ca:.2f} Å",
                "residues with violations  before  after",
                *(
                    f"  {LABELS[kind]:22}  {self.before[kind]:6}  {self.after[kind]:5}"
                    for kind in self.before
                ),
                *([turned] if self.mirrored else []),
            ]
        )


def relax(chain: Chain, rounds: int = ROUNDS, seed: int = 0, quiet: bool = True) -> Relaxation:
    """Move the atoms of a chain to the energy minimum near to where they are.

    Residues that are violated in the minimum lose their springs, and the next round starts there.
    Residues without coordinates are left out; the pieces between them get ends of their own.
    Hydrogens are there for the computation only.

    Args:
        rounds: at most so many minimisations.
        seed: where missing atoms start.
        quiet: no progress bar.

    Raises:
        BadInput: OpenMM is not installed, or the chain is none that AMBER can describe.
    """
    openmm_version()
    _check(chain)
    found, released = violations_of(chain), np.zeros(len(chain.sequence), bool)
    before, molecule, dry = count(found), _Molecule(chain, seed), {BONDED, CONTACTS, SPRINGS}
    with tqdm(desc="relax", unit=" steps", leave=False, disable=quiet) as bar:
        molecule.minimise({BONDED, SPRINGS}, bar)
        for done in range(1, rounds + 1):
            relaxed = molecule.minimise(dry, bar)
            found = violations_of(relaxed)
            if done == rounds or not found.violated.any():  # water costs 80 times more
                relaxed = molecule.minimise(dry | {WATER}, bar)
                found = violations_of(relaxed)
            if done == rounds or not found.violated.any():
                break
            violated = found.violated[0].numpy() > 0
            released |= violated
            molecule.release(violated)
    ca = ATOM_INDEX["CA"]
    moved = (relaxed.positions - chain.positions)[chain.mask[:, ca] > 0, ca]
    return Relaxation(
        chain=relaxed,
        before=before,
        after=count(found),
        rounds=done,
        released=int(released.sum()),
        mirrored=int(((_handedness(chain) > 0) & (_handedness(relaxed) < 0)).sum()),
        energy=molecule.energy(),
        rmsd_ca=float(np.sqrt((moved**2).sum(-1).mean())),
    )


def openmm_version() -> str:
    """The version of OpenMM, such as "8.6.1".

    Raises:
        BadInput: OpenMM or pdbfixer is not installed; the message says how to install them.
    """
    try:
        import openmm
        import pdbfixer  # noqa: F401
    except ImportError:
        raise BadInput(
            "relaxation needs OpenMM and pdbfixer; install them: pip install openmm pdbfixer"
        ) from None
    return openmm.__version__


def violations_of(chain: Chain) -> Violations:
    """``find_violations`` of one chain (b = 1)."""
    aatype, index = torch.from_numpy(chain.aatype)[None], torch.from_numpy(chain.residue_index)
    positions, mask = (torch.from_numpy(x)[None] for x in (chain.positions, chain.mask))
    mask = atom37_to_atom14(mask[..., None], aatype)[..., 0]
    return find_violations(atom37_to_atom14(positions, aatype), mask, index[None].long(), aatype)


def count(found: Violations) -> dict[str, int]:
    """Residues with a violation: of a peptide bond (its length or angles), by a clash, within."""
    kinds = {
        "connection": found.connection_violated,
        "clash": found.clash_violated.amax(-1),
        "within": found.within_violated.amax(-1),
        "any": found.violated,
    }
    return {kind: int(violated.sum()) for kind, violated in kinds.items()}


def _handedness(chain: Chain) -> np.ndarray:
    """Above 0 for L, below for D amino acids, 0 where there is no Cβ."""
    n, ca, c, cb = (chain.positions[:, ATOM_INDEX[name]] for name in ("N", "CA", "C", "CB"))
    return (np.cross(n - ca, c - ca) * (cb - ca)).sum(-1) * chain.mask[:, ATOM_INDEX["CB"]]


def _check(chain: Chain) -> None:
    """Refuse what AMBER has no parameters for, and what cannot be a molecule."""
    for letter, mask, number in zip(chain.sequence, chain.mask, chain.residue_index + 1):
        if not mask.any():
            continue
        if letter == "X":
            raise BadInput(
                f"{chain.name}: residue {number} is unknown (X); only the twenty amino acids can "
                "be relaxed"
            )
        missing = [name for name in ("N", "CA", "C") if not mask[ATOM_INDEX[name]]]
        if missing:
            raise BadInput(
                f"{chain.name}: residue {number} has no atom {missing[0]}; relaxation needs the "
                "backbone of each residue, the rest it can add"
            )
    for piece in _pieces(chain):
        if len(piece.sequence) == 1:
            raise BadInput(
                f"{chain.name}: residue {piece.residue_index[0] + 1} has no neighbour with "
                "coordinates; relaxation needs pieces of two residues or more"
            )
    x = chain.positions[chain.mask > 0]
    if not (np.abs(x) < 9999).all():  # NaN is not, either
        raise BadInput(f"{chain.name}: some coordinates are not numbers or beyond 9999 Å")
    if len(np.unique(x.round(3), axis=0)) < len(x):
        raise BadInput(f"{chain.name}: some atoms lie on the very same point; nothing to relax")


def _pieces(chain: Chain) -> Iterator[Chain]:
    """The stretches of consecutive residues with coordinates."""
    (seen,) = np.nonzero(chain.mask.any(-1))
    for rows in np.split(seen, 1 + np.flatnonzero(np.diff(chain.residue_index[seen]) != 1)):
        parts = {
            name: getattr(chain, name)[rows]
            for name in ("positions", "mask", "residue_index", "b_factors")
        }
        yield replace(chain, sequence="".join(chain.sequence[row] for row in rows), **parts)


class _Molecule:
    """All atoms of a chain in OpenMM, each heavy atom of the input on a spring."""

    def __init__(self, chain: Chain, seed: int):
        import openmm
        from openmm import app, unit

        self.origin, self.random = chain, np.random.default_rng(seed)
        self.topology, positions = _with_hydrogens(chain, seed)
        system = app.ForceField(*FORCE_FIELD).createSystem(self.topology)
        for force in system.getForces():
            group = {openmm.NonbondedForce: CONTACTS, openmm.CustomGBForce: WATER}
            force.setForceGroup(group.get(type(force), BONDED))
        self.springs = openmm.CustomExternalForce("k/2 * ((x-x0)^2 + (y-y0)^2 + (z-z0)^2)")
        self.springs.setForceGroup(SPRINGS)
        for name in ("k", "x0", "y0", "z0"):
            self.springs.addPerParticleParameter(name)
        (rows,) = np.nonzero(chain.mask.any(-1))
        atoms = list(self.topology.atoms())
        self.residue = np.array([rows[atom.residue.index] for atom in atoms])  # of each particle
        self.is_side_chain = np.array([atom.name not in BACKBONE for atom in atoms])
        self.slots = {a.index: ATOM_INDEX[a.name] for a in atoms if a.name in ATOM_INDEX}
        for particle, slot in self.slots.items():
            i = self.residue[particle]
            if chain.mask[i, slot]:
                x = chain.positions[i, slot].astype(float) * ANGSTROM
                self.springs.addParticle(particle, [STIFFNESS * KJ / ANGSTROM**2, *x])
        system.addForce(self.springs)
        self.integrator = openmm.VerletIntegrator(1 * unit.femtosecond)  # a context must have one
        one_thread = {"Threads": "1", "DeterministicForces": "true"}
        cpu = openmm.Platform.getPlatformByName("CPU")
        self.context = openmm.Context(system, self.integrator, cpu, one_thread)
        self.context.setPositions(positions)

    def minimise(self, forces: set[int], bar: tqdm) -> Chain:
        """Go to the minimum of these groups of forces: L-BFGS until it has converged."""
        from openmm import LocalEnergyMinimizer, MinimizationReporter, OpenMMException

        class Steps(MinimizationReporter):  # called at every step, so Ctrl-C works as well
            def report(self, iteration, x, gradient, now):
                bar.set_postfix_str(f"{now['system energy'] / KJ:.0f} kcal/mol", refresh=False)
                bar.update()
                return False

        self.integrator.setIntegrationForceGroups(forces)
        try:
            LocalEnergyMinimizer.minimize(self.context, reporter=Steps())
        except OpenMMException as error:
            raise BadInput(f"{self.origin.name}: OpenMM cannot relax this: {error}") from None
        return self.chain()

    def release(self, violated: np.ndarray) -> None:
        """Cut the springs of these residues [n] and shake their side chains.

        Without a shake, a ring that another bond runs through stays where it is.
        """
        for k in range(self.springs.getNumParticles()):
            particle, (stiffness, *x) = self.springs.getParticleParameters(k)
            if violated[self.residue[particle]]:
                self.springs.setParticleParameters(k, particle, [0.0, *x])
        self.springs.updateParametersInContext(self.context)
        now = self._positions()
        shaken = violated[self.residue] & self.is_side_chain
        now[shaken] += self.random.normal(0, SHAKE, (shaken.sum(), 3))
        self.context.setPositions(now * ANGSTROM)

    def energy(self) -> float:
        """kcal/mol, without the springs."""
        state = self.context.getState(energy=True, groups={BONDED, CONTACTS, WATER})
        return state.getPotentialEnergy()._value / KJ

    def chain(self) -> Chain:
        """The heavy atoms where they are now."""
        now = self._positions()
        positions, mask = np.zeros_like(self.origin.positions), np.zeros_like(self.origin.mask)
        for particle, slot in self.slots.items():
            place = self.residue[particle], slot
            positions[place], mask[place] = now[particle], 1
        return replace(self.origin, positions=positions, mask=mask)

    def _positions(self) -> np.ndarray:
        """Of all particles [particles, 3], Å."""
        state = self.context.getState(positions=True)
        return np.array(state.getPositions(asNumpy=True)._value) / ANGSTROM


def _with_hydrogens(chain: Chain, seed: int):
    """OpenMM's topology and positions of the chain with all of its atoms."""
    import openmm
    from openmm import app
    from pdbfixer import PDBFixer

    reference = openmm.Platform.getPlatformByName("Reference")  # always the same, and fast enough
    lines = [
        line
        for piece in _pieces(chain)
        for line in to_pdb(piece).splitlines()
        if line.startswith(("ATOM", "TER"))
    ]
    fixer = PDBFixer(pdbfile=io.StringIO("\n".join(lines) + "\nEND\n"), platform=reference)
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    fixer.addMissingAtoms(seed=seed)
    model = app.Modeller(fixer.topology, fixer.positions)
    state = random.getstate()
    random.seed(seed)  # of the places where hydrogens start
    try:
        model.addHydrogens(pH=7.0, platform=reference)
    finally:
        random.setstate(state)
    return model.topology, model.positions
