"""The page of one prediction, view.html: the structure, how sure the model is, and why.

What AlphaFold's database and ColabFold show of a prediction is here, too: the structure coloured by
confidence, linked with its sequence and with the predicted aligned error; pLDDT along the chain;
the alignment; the files. And what they do not show: what the model believes about distances, where
it looked, and the way to the structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from minifold import __version__
from minifold.data.residues import ATOM_INDEX, ONE_TO_THREE
from minifold.data.structures import Chain
from minifold.look import plots
from minifold.look.pair_view import PairView, contact_map, distance_map, pae_map
from minifold.look.report import Section, write_report
from minifold.look.score_table import metric_text
from minifold.look.taps import Record
from minifold.look.view3d import METRICS, plddt_color, trajectory, view
from minifold.model.heads import distogram_edges
from minifold.training.metrics import align_sequences, evaluate, lddt_per_point

if TYPE_CHECKING:
    from minifold.predict import Prediction

CA, CB = ATOM_INDEX["CA"], ATOM_INDEX["CB"]
CONTACT = 8.0  # Å between Cβ atoms
APART = 6  # places in the chain: nearer pairs say little
ATTENTION_BYTES = 600_000  # of the weights in a page
DOWNLOAD_BYTES = 650_000  # of the files in a page
FILES = {
    "prediction.cif": "structure (mmCIF)",
    "prediction.pdb": "structure (PDB)",
    "scores.json": "scores (JSON)",
    "pae.json": "aligned error (JSON)",
}
STILL = {"dpi": 96, "colors": 64}  # of the picture that stands for the map of pairs


def write_prediction_page(
    prediction: Prediction,
    path: str | Path,
    truth: Chain | None = None,
    taps: Record | None = None,
    files: Sequence[str] = (),
) -> None:
    """Write view.html: the structure, how sure the model is and why, and how it was made.

    The files of the prediction are in the page, too, as far as there is room; of the large ones of
    a long protein there is not.

    With ``truth`` the page compares: superposition, scores, true distances and true lDDT. With
    ``taps`` (``attention_view.glance``) it shows the attention and distances in full; ``files`` lie
    in the same folder and are named.

    Raises:
        BadInput: the file cannot be written, or the truth or the taps are of another protein.
    """
    p, n = prediction, len(prediction.sequence)
    sections = [
        _structure(p, truth, files),
        _confidence(p, None if truth is None else _true_lddt(p.chain, truth)),
        _pairs(p, None if truth is None else _true_distances(truth, p.sequence), taps),
        _attention(p, taps),
        _way(p),
        _making(p),
    ]
    lead = f"A predicted structure of {n} residues"
    lead += (
        " beside the experimental one." if truth is not None else ", with the model's confidence."
    )
    beside = f"In the same folder: {', '.join(files)}." if files else ""
    write_report(path, p.name or "Prediction", lead, [x for x in sections if x], beside)


def _structure(p: Prediction, truth: Chain | None, files: Sequence[str]) -> Section:
    numbers: dict[str, str | float | int] = {
        "residues": len(p.sequence),
        "mean pLDDT": f"{float(p.plddt.mean()):.1f}",
    }
    if p.ptm is not None:
        numbers["pTM"] = f"{p.ptm:.3f}"
    numbers["sequences (median)"] = f"{np.median(p.msa_depth):.0f}"
    chains, caption = [p.chain], "Predicted structure, coloured by confidence."
    if truth is not None:
        chains, caption = [p.chain, truth], "Prediction in colour, experiment in grey, superposed."
        scores = evaluate(p.chain, truth)
        for metric in ("gdt_ts", "gdt_ha"):  # the others stand beside the view
            numbers[METRICS[metric][0]] = metric_text(metric, scores[metric])
    drawn = view(chains, "plddt", 640, 480, superpose=truth is not None, caption=caption)
    downloads, room, beside = [], DOWNLOAD_BYTES, []
    for name, content in p.files().items():
        if len(content) <= room:
            room -= len(content)
            downloads.append((FILES[name], name, content))
        elif name in files:
            beside.append(name)
    words = [
        "Drag in the map, or point at a letter of the sequence, to find residues in the structure."
    ]
    if beside:
        words.append(f"Too large for this page, but in its folder: {', '.join(beside)}.")
    return Section(
        title="Structure",
        text=words,
        numbers=numbers,
        downloads=downloads,
        views=[drawn, _map(p)],
        sequence=p.sequence,
        shades=[plddt_color(x) for x in p.plddt.tolist()],
        notes=[f"{residue} · pLDDT {x:.0f}" for residue, x in zip(_names(p), p.plddt)],
    )


def _map(p: Prediction) -> PairView:
    """The maps that answer; the still picture is of the first."""
    maps = [distance_map(p.distances), contact_map(p.contacts)]
    still = plots.distance_map(p.distances) if p.pae is None else plots.pae(p.pae)
    if p.pae is not None:
        maps.insert(0, pae_map(p.pae))
    name = maps[0].name.capitalize()
    return PairView(maps, _names(p), p.residue_index, plots.png(still, **STILL), f"{name}, map")


def _confidence(p: Prediction, lddt: np.ndarray | None) -> Section:
    words = [
        "pLDDT is the model's own estimate, from 0 to 100, of how well the surroundings of each "
        "residue are predicted. From AlphaFold2 itself, 90 and more mostly means that side chains "
        "are right, too, 70 and more that the backbone is; below 50 a residue often has no fixed "
        "place at all. The estimate can be wrong, above all in a small model."
    ]
    if p.pae is None:
        words.append(
            "This model has no head for the predicted aligned error (PAE) and pTM; the map beside "
            "the structure shows the distances that it expects."
        )
    else:
        words.append(
            "The predicted aligned error (PAE, the map beside the structure) tells how well "
            "residues are placed to one another: the colour at column x and row y is the error "
            "that the model expects at residue x, if prediction and truth are superposed at "
            "residue y. Dark blocks are parts that are rigid in themselves; where two blocks meet "
            "in a pale field, how they lie to one another is not known. pTM, from 0 to 1, sums "
            "the map up: the TM-score that the model expects of the whole."
        )
    figures = [plots.plddt(p.plddt, lddt, p.residue_index)]
    return Section(title="How sure the model is", text=words, figures=figures)


def _pairs(p: Prediction, distances: np.ndarray | None, taps: Record | None) -> Section:
    contacts = None
    if distances is not None:
        contacts = np.where(np.isfinite(distances), distances < CONTACT, np.nan)
    words = [
        "From the distogram, the distribution over distances that is read from the pair "
        "representation before any structure is built: the expected distance, and the "
        "probability of a contact."
    ]
    figures = [plots.distance_map(p.distances, distances), plots.contact_map(p.contacts, contacts)]
    known = [] if taps is None else taps.match("*/distogram")
    if known and len(p.sequence) > APART:
        probability = taps[known[-1]]
        pairs = _telling_pairs(p.contacts, probability)
        edges = distogram_edges(probability.shape[-1]).numpy()
        names = _names(p)
        for i, j in pairs:
            true = None if distances is None or np.isnan(distances[i, j]) else distances[i, j]
            figures.append(plots.distogram(probability[i, j], edges, (names[i], names[j]), true))
        words.append(
            f"Two pairs in full, of residues at least {APART} places apart: the likeliest contact, "
            "and the pair that the model is least decided on."
        )
    return Section(title="What it believes about pairs of residues", text=words, figures=figures)


def _telling_pairs(contacts: np.ndarray, probability: np.ndarray) -> list[tuple[int, int]]:
    """Among pairs far apart in the chain the likeliest contact and the broadest distribution."""
    i, j = np.triu_indices(len(contacts), APART)
    chosen = probability[i, j]
    entropy = -(chosen * np.log(chosen.clip(1e-12))).sum(-1)
    best = (int(np.argmax(contacts[i, j])), int(np.argmax(entropy)))
    return [(int(i[k]), int(j[k])) for k in dict.fromkeys(best)]


def _attention(p: Prediction, taps: Record | None) -> Section | None:
    """The viewer, as much of it as fits into the page."""
    if taps is None:
        return None
    from minifold.look.attention_view import AttentionView  # it knows predict, which knows us

    words = (
        "Where information flows while the model folds: the attention of the last pass. Choose a "
        "kind, a block and a head, then click a row of the map; arcs in the structure lead from "
        "the residue to those it looks at. That a residue looks at another is no proof that it "
        "matters."
    )
    for blocks in (4, 2, 1):
        viewer = AttentionView(taps, p.chain, blocks, ATTENTION_BYTES)
        if viewer.complete:
            break
    part = viewer.html()
    if len(part) > 2 * ATTENTION_BYTES:
        return None
    return Section(title="What it looked at", text=[words], html=part)


def _way(p: Prediction) -> Section:
    moving = trajectory(
        p.chain,
        p.trajectory,
        labels=[f"after layer {k + 1}" for k in range(len(p.trajectory))],
        caption="Cα trace after each layer of the structure module, in the last pass.",
    )
    words = "The structure module moves the residues, layer by layer, to where they are at the end."
    return Section(title="The way to the structure", text=[words], views=[moving])


def _making(p: Prediction) -> Section:
    figures = [plots.msa_depth(p.msa_depth) if p.msa is None else plots.msa_coverage(p.msa)]
    return Section(
        title="How it was made",
        text=[
            "What went in is the alignment of related sequences. Where it is deep and diverse, "
            "there is more to learn from; with one sequence alone there is nothing to compare."
        ],
        numbers={"minifold": __version__}
        | {str(k).replace("_", " "): v for k, v in p.settings.items()},
        figures=figures,
    )


def _names(p: Prediction) -> list[str]:
    """Such as "Cys 5"."""
    pairs = zip(p.sequence, p.residue_index.tolist())
    return [f"{ONE_TO_THREE[x].capitalize()} {k + 1}" for x, k in pairs]


def _true_distances(truth: Chain, sequence: str) -> np.ndarray:
    """Cβ distances (Cα in glycine) [n, n] of the truth at the residues of a sequence, or NaN."""
    ours, theirs = align_sequences(sequence, truth.sequence)
    has_cb = truth.mask[:, CB, None] > 0
    x = np.where(has_cb, truth.positions[:, CB], truth.positions[:, CA]).astype(np.float64)
    x[(truth.mask[:, CA] == 0) & ~has_cb[:, 0]] = np.nan
    placed = np.full((len(sequence), 3), np.nan)
    placed[ours] = x[theirs]
    return np.linalg.norm(placed[:, None] - placed[None], axis=-1)


def _true_lddt(predicted: Chain, truth: Chain) -> np.ndarray:
    """lDDT-Cα, 0-100, of each predicted residue; NaN where the truth has none."""
    ours, theirs = align_sequences(predicted.sequence, truth.sequence)
    both = predicted.mask[ours, CA] * truth.mask[theirs, CA] > 0
    ours, theirs = ours[both], theirs[both]
    x, y = (
        torch.from_numpy(np.asarray(chain.positions[at, CA], np.float32))[None]
        for chain, at in ((predicted, ours), (truth, theirs))
    )
    result = np.full(len(predicted.sequence), np.nan)
    result[ours] = 100 * lddt_per_point(x, y, torch.ones(1, len(ours)))[0].numpy()
    return result
