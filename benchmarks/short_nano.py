"""The weights short-nano: real short proteins, mostly from a single sequence.

    python -m benchmarks.short_nano [--data ../shared/data] [--minutes 20 --seed 0 --out DIR]

Folds the held-out chains with the shipped weights and writes results/short_nano.md, .csv and .png:
scores beside bounds and floors, by length and class, with and without an alignment, and the seven
shipped proteins. With ``--minutes`` it first trains twice for so many CPU minutes each, from
toy-nano and from random weights, and ships the former; interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr

from minifold.config import preset
from minifold.data.backbone import CB_SITE
from minifold.data.features import collate, make_batch
from minifold.data.msa import read_alignment
from minifold.data.residues import ATOM_INDEX
from minifold.data.short_chains import LONGEST, SHORTEST, clusters
from minifold.data.structures import Chain, read_structure
from minifold.errors import BadInput
from minifold.model.alphafold import AlphaFold
from minifold.model.atoms import pseudo_beta
from minifold.model.heads import contact_probability, plddt_from_logits
from minifold.model.rigid import Rigid
from minifold.predict import load
from minifold.training import baselines, metrics
from minifold.training.loop import Trainer, hardware
from minifold.training.runs import SHORT, SHORT_CLAMPED
from minifold.training.sources import Example, Proteins, read_examples

ROOT = Path(__file__).parent.parent
CA = ATOM_INDEX["CA"]
RESOLUTION = 2.5  # Å, taken for all: the bundle does not say, and without one pLDDT learns nothing
LOOSEST = 1.2  # radius of gyration over what is expected, at most: "compact" in the bundle
SCORES = {
    "lddt_ca": "lDDT-Cα",
    "lddt_long": "lDDT-Cα, \\|i-j\\| ≥ 6",
    "tm_score": "TM",
    "rmsd_ca": "RMSD, Å",
    "precision": "contacts",
    "rg_ratio": "Rg ratio",
    "clashes": "clashes",
    "bond": "Cα-Cα error, Å",
    "right": "right-handed",
}
WANTED = {  # lowest and highest
    "lddt_ca": (0.42, 1.0),
    "lddt_long": (0.32, 1.0),
    "rg_ratio": (0.85, 1.10),
    "clashes": (0.0, 0.02),
    "bond": (0.0, 0.10),
    "right": (0.90, 1.0),
}
LENGTHS = ((30, 50), (50, 75), (75, 101))


@dataclass(frozen=True)
class Short:
    """A chain of the data, with its alignment if there is one, and what the floors need."""

    example: Example
    cluster: int
    ss: str  # secondary structure, from the coordinates: H, E, C
    predicted_ss: str  # by a predictor, from the sequence; "" where there is none

    @property
    def sequence(self) -> str:
        return self.example.chain.sequence

    @property
    def ca(self) -> Float[np.ndarray, "n 3"]:
        return self.example.chain.positions[:, CA]


# ------------------------------------------------------------------ data


def read_bundle(data: Path, split: str) -> list[Short]:
    """The compact chains of chains_backbone, no two alike, with alignments from msas/anchored.

    O is rebuilt by whoever made the bundle; Cβ is placed here, at the ideal site beside N, Cα and
    C. Side chains are not known.

    Raises:
        BadInput: the data are not there.
    """
    path = data / "chains_backbone" / "backbone.npz"
    if not path.is_file():
        raise BadInput(f"{path} is not there; say with --data where the data are")
    arrays = dict(np.load(path))
    alignments = [read_alignment(x) for x in sorted((data / "msas" / "anchored").glob("*.a3m"))]
    by_query = {x.query: x for x in alignments}
    starts, ends = arrays["offsets"][:-1], arrays["offsets"][1:]
    chosen = (arrays["split"] == split) & arrays["compact"] & arrays["nr90"]
    chosen &= (ends - starts >= SHORTEST) & (ends - starts <= LONGEST)
    found = []
    for k in np.flatnonzero(chosen):
        part = slice(starts[k], ends[k])
        letters = {key: arrays[key][part].tobytes().decode() for key in _LETTERS}
        chain = _chain(
            str(arrays["ids"][k]), letters["seq"], {a: arrays[b][part] for a, b in _ATOMS}
        )
        example = Example(chain, by_query.get(chain.sequence))
        cluster = int(arrays["cluster"][k])
        found.append(Short(example, cluster, letters["ss_observed"], letters["ss_predicted"]))
    return found


_LETTERS = ("seq", "ss_observed", "ss_predicted")
_ATOMS = (("N", "N"), ("CA", "CA"), ("C", "C"), ("O", "O_rebuilt"))


def _chain(name: str, sequence: str, atoms: dict[str, Float[np.ndarray, "n 3"]]) -> Chain:
    n = len(sequence)
    backbone = [torch.from_numpy(atoms[key]) for key in ("N", "CA", "C")]
    beta = Rigid.from_3_points(*backbone).apply(torch.tensor(CB_SITE).expand(n, 3))
    positions, mask = np.zeros((n, 37, 3), np.float32), np.zeros((n, 37), np.float32)
    for key, x in {**atoms, "CB": beta.numpy()}.items():
        known = np.isfinite(x).all(-1)
        if key == "CB":
            known &= np.array(list(sequence)) != "G"
        positions[known, ATOM_INDEX[key]], mask[known, ATOM_INDEX[key]] = x[known], 1
    index, zeros = np.arange(n, dtype=np.int32), np.zeros(n, np.float32)
    entry, letter = name.split("_")
    return Chain(sequence, positions, mask, index, zeros, letter, entry, RESOLUTION)


def read_full_atom(data: Path) -> list[Short]:
    """Experimental training chains with side chains: compact ones, no two alike."""
    alignments = [read_alignment(x) for x in sorted((data / "msas" / "anchored").glob("*.a3m"))]
    by_query = {x.query: x for x in alignments}
    found = []
    with open(data / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] != "structure_fullatom_chain" or row["split"] != "train":
                continue
            if row["experimental_or_model"] != "experimental" or row["nr90"] != "1":
                continue
            right = SHORTEST <= int(row["length"]) <= LONGEST
            if right and float(row["rg_ratio"]) <= LOOSEST:
                chain = replace(read_structure(data / row["file"]), resolution=RESOLUTION)
                example = Example(chain, by_query.get(chain.sequence))
                found.append(Short(example, int(row["cluster"]), "", ""))
    return found


def training_set(data: Path) -> list[Short]:
    """Everything that is trained on: the bundle, and chains with side chains that it lacks.

    The proteins in ``data/structures`` of the repository are kept out; their relatives are not.
    """
    shipped = [x.chain.sequence for x in read_examples(ROOT / "data" / "structures")]
    bundle = read_bundle(data, "train")
    known = {x.sequence for x in bundle}
    more = [x for x in read_full_atom(data) if x.sequence not in known]
    return [x for x in bundle + more if not any(_same(x.sequence, y) for y in shipped)]


def _same(one: str, other: str) -> bool:
    return one in other or other in one


# ------------------------------------------------------------------ training


def train(begin: str | None, minutes: float, seed: int, data: Path, folder: Path) -> dict:
    """One training, or what an earlier call finished; what it took."""
    base = load(begin) if begin else None
    config = (base.config if base else preset("nano")).replace(recycles=0, settle=True)
    chains, held_out = training_set(data), read_bundle(data, "val")
    source = Proteins(
        [x.example for x in chains], config, [x.example for x in held_out], seed, SHORT_CLAMPED
    )
    torch.manual_seed(seed)
    model = AlphaFold(config)
    if base:
        model.load_state_dict(base.state_dict())
    trainer = Trainer(model, source, replace(SHORT, minutes=minutes, seed=seed), folder)
    if (folder / "checkpoint.pt").is_file():
        trainer.resume()
    trainer.run()
    facts = {"minutes": round(trainer.spent, 1), "steps": trainer.step, "chains": len(chains)}
    facts |= {"seed": seed, "hardware": hardware()}
    (folder / "facts.json").write_text(json.dumps(facts))
    return facts


# ------------------------------------------------------------------ scores


def scores_of(
    positions: Float[torch.Tensor, "i 37 3"],
    chain: Chain,
    contacts: Float[torch.Tensor, "i i"] | None = None,
) -> dict[str, float]:
    """All scores of a structure (Å) against the truth; turns of helix are counted by hand."""
    true, known = (torch.from_numpy(x)[None] for x in (chain.positions, chain.mask))
    x, y, mask = positions[None, :, CA].float(), true[:, :, CA], known[..., CA]
    index = torch.from_numpy(chain.residue_index)[None].long()
    right, left = metrics.helix_turns(x, torch.ones_like(mask))
    scores = {
        "lddt_ca": metrics.lddt(x, y, mask),
        "lddt_long": metrics.lddt(x, y, mask, separation=6),
        "tm_score": metrics.tm_score(x, y, mask),
        "rmsd_ca": metrics.rmsd(x, y, mask),
        "rg_ratio": metrics.radius_of_gyration(x, mask) / metrics.radius_of_gyration(y, mask),
        "clashes": metrics.clashes(x, torch.ones_like(mask)),
        "bond": metrics.ca_ca_error(x, torch.ones_like(mask), index),
        "turns_right": right,
        "turns_left": left,
    }
    if contacts is not None:
        aatype = torch.from_numpy(chain.aatype)[None].long()
        beta, seen = pseudo_beta(aatype, true, known)
        scores["precision"] = metrics.contact_precision(contacts[None], beta, seen)
    return {key: float(value) for key, value in scores.items()}


def model_scores(model: AlphaFold, examples: Sequence[Example]) -> list[dict[str, float]]:
    """Scores of what the model predicts, and its mean pLDDT (0 to 1)."""
    rows = []
    for example in examples:
        batch = collate([make_batch(example.alignment, example.chain, model.config)])
        with torch.no_grad():
            output = model(batch, recycles=model.config.recycles)
        contacts = contact_probability(output.distogram_logits)[0]
        row = scores_of(output.positions[0], example.chain, contacts)
        rows.append(row | {"plddt": float(plddt_from_logits(output.plddt_logits).mean()) / 100})
    return rows


def ca_scores(traces: Sequence[np.ndarray], chains: Sequence[Chain]) -> list[dict[str, float]]:
    """Scores of Cα traces; their contacts are the pairs that are nearest."""
    rows = []
    for trace, chain in zip(traces, chains):
        positions = torch.zeros(len(chain.sequence), 37, 3)
        positions[:, CA] = torch.from_numpy(np.ascontiguousarray(trace)).float()
        nearness = -torch.cdist(positions[:, CA], positions[:, CA])
        rows.append(scores_of(positions, chain, nearness))
    return rows


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means; the median of the RMSD; the share of right-handed turns among all turns."""
    means = {key: float(np.mean([x[key] for x in rows])) for key in rows[0]}
    means["rmsd_ca"] = float(np.median([x["rmsd_ca"] for x in rows]))
    turns = means["turns_right"] + means["turns_left"]
    return means | {"right": means["turns_right"] / turns if turns else float("nan")}


# ------------------------------------------------------------------ floors


def threaded(
    target: str, library: Sequence[Short], n: int, key: str, rng: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """The window (Cα) whose secondary structure agrees best with a string; a random one of many."""
    wanted = np.frombuffer(target.encode(), np.uint8)
    best, found = -1, []
    for short in library:
        theirs = np.frombuffer(getattr(short, key).encode(), np.uint8)
        if len(theirs) < n:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(theirs, n)
        agree = (windows == wanted).sum(1)
        if agree.max() >= best:
            found = found if agree.max() == best else []
            best = agree.max()
            found += [short.ca[k : k + n] for k in np.flatnonzero(agree == best)]
    return found[rng.integers(len(found))]


def floors(targets: Sequence[Short], library: Sequence[Short], seed: int) -> Iterator:
    """Names of predictions that have learnt nothing, and their scores."""
    rng = np.random.default_rng(seed)
    chains = [x.example.chain for x in targets]
    library = [x for x in library if x.predicted_ss]  # whole, with a secondary structure
    folds = [x.ca for x in library]
    sizes = [len(x.sequence) for x in targets]
    traces = {
        "random walk": [baselines.random_walk(n, rng) for n in sizes],
        "straight helix": [baselines.helix("A" * n)[0][:, CA] for n in sizes],
        "random training chain": [baselines.random_structure(folds, n, rng) for n in sizes],
        THREADING: [
            threaded(x.predicted_ss, library, n, "predicted_ss", rng)
            for x, n in zip(targets, sizes)
        ],
        "threading, true secondary structure": [
            threaded(x.ss, library, n, "ss", rng) for x, n in zip(targets, sizes)
        ],
        "nearest training window (oracle)": [
            ca for ca, _ in baselines.nearest_structures(folds, [x.ca for x in targets])
        ],
    }
    for name, some in traces.items():
        yield name, ca_scores(some, chains)


THREADING = "threading, predicted secondary structure"


# ------------------------------------------------------------------ groups


def fold_class(ss: str) -> str:
    """What a chain is made of, by its secondary structure (from the coordinates)."""
    helix, strand = ss.count("H") / len(ss), ss.count("E") / len(ss)
    if helix >= 0.1 and strand >= 0.1:
        return "helices and strands"
    if max(helix, strand) < 0.2:
        return "mostly coil"
    return "helices" if helix > strand else "strands"


def with_alignments(
    model: AlphaFold, chains: Sequence[Short], families: Sequence[str], data: Path
) -> dict[str, dict[str, float]]:
    """Chains of these families, with and without their alignment in msas/anchored."""
    by_sequence = {x.sequence: x for x in chains}
    rows = {}
    for family in families:
        files = sorted((data / "msas" / "anchored").glob(f"{family}__*.a3m"))
        some = [
            by_sequence[q] for q in (read_alignment(x).query for x in files) if q in by_sequence
        ]
        alone = [Example(x.example.chain) for x in some]
        name = f"{family}, {len(some)} chains"
        rows[f"{name}, with alignment"] = summary(model_scores(model, [x.example for x in some]))
        rows[f"{name}, sequence alone"] = summary(model_scores(model, alone))
    return rows


def shipped_proteins(model: AlphaFold, trained_on: Sequence[Short]) -> list[list[str]]:
    """Name, relatives in the training, and scores, of the proteins in the repository."""
    examples = read_examples(ROOT / "data" / "structures")
    scores = model_scores(model, examples)
    letters = [x.chain.sequence for x in examples]
    groups = clusters(letters + [x.sequence for x in trained_on])
    relatives = groups[len(letters) :].tolist()
    lines = []
    for example, cluster, row in zip(examples, groups.tolist(), scores):
        number = relatives.count(cluster)
        keys = ("lddt_ca", "lddt_long", "tm_score", "rmsd_ca", "clashes", "bond")
        residues = str(len(example.chain.sequence))
        values = [f"{row[key]:.2f}" for key in keys]
        lines.append([example.chain.name, residues, f"{number or 'none'}", *values])
    return lines


# ------------------------------------------------------------------ report


ABOUT = """# short-nano on real short proteins

{count} chains of {low} to {high} residues of the held-out part of the data, none with a relative in
the training (clusters by phmmer, all against all). **Single sequences cannot give folds**: what
is predicted is local structure, size and how a chain holds together. TM-score and contacts say so.
Means; of the RMSD the median; `contacts`: precision of the top L/2, \\|i-j\\| ≥ 6; `clashes`:
pairs of Cα, not neighbours, nearer than 4 Å, per residue; `right-handed`: share of all turns of
α-helix. "Wanted" is what was asked for before the training.

{main}

{verdict}

Threading takes the window of a training chain whose predicted secondary structure (a predictor's,
72 % right) agrees best with that of the target; the oracle looks at the true structure. Both, and
the random training chain, are pieces of real proteins, so nothing in them clashes.

The layers of the model leave neighbours too near or too far, and Cα atoms in each other's way; then
atoms are moved apart, without parameters (deviation D38). "Not settled" is without that.

Does the toy world help? Twins, {compare} CPU minutes each, else the same:

{twins}

By length and by class, lDDT-Cα of the model and of threading:

{groups}

Families with alignments. **These chains were trained on**, with alignment; no held-out chain has
one:

{families}

The proteins of this repository, query alone. None was trained on; some have relatives there:

{shipped}

- pLDDT against lDDT-Cα by chain: Spearman {spearman:.2f}; mean pLDDT {plddt:.2f}
- how the weights were made: [weights/short-nano.md](../weights/short-nano.md). Settings (`SHORT`)
  were chosen on a tenth of the training clusters that was kept out for that, not on these chains
- command: `{command}`
- hardware: {hardware}, shared with other work
"""


def table(rows: dict[str, dict[str, float]], keys: Sequence[str] = tuple(SCORES)) -> str:
    """Predictors down, scores across; "–" where there is none."""
    lines = [
        "| | " + " | ".join(SCORES[key] for key in keys) + " |",
        "|---" * (len(keys) + 1) + "|",
    ]
    for name, row in rows.items():
        cells = (f"{row[key]:.3f}" if key in row else "–" for key in keys)
        lines.append(f"| {name} | " + " | ".join("–" if x == "nan" else x for x in cells) + " |")
    return "\n".join(lines)


def wanted(model: dict[str, float], threading: dict[str, float]) -> tuple[str, str]:
    """The row of bounds for the table, and which of them are met."""
    cells, said = [], []
    for key, label in SCORES.items():
        if key not in WANTED:
            cells.append("")
            continue
        low, high = WANTED[key]
        upper_only, lower_only = low == 0.0, high == 1.0
        text = f"≤ {high:.2f}" if upper_only else f"≥ {low:.2f}"
        text = text if upper_only or lower_only else f"{low:.2f}-{high:.2f}"
        cells.append(text)
        mark = "✓" if low <= model[key] <= high else "✗"
        said.append(f"{mark} {label}: {model[key]:.3f}, wanted {text}")
    gain = model["lddt_ca"] - threading["lddt_ca"]
    said.append(
        f"{'✓' if gain >= 0.05 else '✗'} lDDT-Cα above threading: {gain:.3f}, wanted ≥ 0.050"
    )
    return "| wanted | " + " | ".join(cells) + " |", "\n".join(f"- {line}" for line in said)


def groups_of(targets: Sequence[Short]) -> dict[str, list[int]]:
    """Numbers of the chains of each length and each class."""
    found = {}
    for low, high in LENGTHS:
        inside = [k for k, x in enumerate(targets) if low <= len(x.sequence) < high]
        found[f"{low}-{min(high, LONGEST)} residues"] = inside
    for name in ("helices", "strands", "helices and strands", "mostly coil"):
        found[name] = [k for k, x in enumerate(targets) if fold_class(x.ss) == name]
    return {name: some for name, some in found.items() if some}


def draw(rows: dict[str, list[dict[str, float]]], path: Path) -> None:
    """lDDT-Cα of each chain: model against threading."""
    from minifold.look import style

    style.use()
    figure, axes = style.sheet(4.6, 4.4)
    ax = axes[0, 0]
    x, y = ([row["lddt_ca"] for row in rows[name]] for name in (THREADING, "model"))
    ax.plot([0.2, 0.8], [0.2, 0.8], color=style.GREY, lw=1)
    ax.plot(x, y, "o", color=style.BLUE, ms=4)
    ax.set(xlabel="lDDT-Cα, threading (predicted secondary structure)")
    ax.set(ylabel="lDDT-Cα, short-nano", xlim=(0.2, 0.8), ylim=(0.2, 0.8), aspect="equal")
    path.write_bytes(style.png(figure))


def report(data: Path, seed: int, twins: dict[str, Path], compare: float, command: str) -> None:
    """Measure the shipped weights and write results/short_nano.md, .csv and .png."""
    model = load("short-nano").eval()
    targets, library = read_bundle(data, "val"), training_set(data)
    examples = [Example(x.example.chain) for x in targets]
    loose = AlphaFold(model.config.replace(settle=False)).eval()
    loose.load_state_dict(model.state_dict())
    rows = {"model": model_scores(model, examples)}
    rows["model, not settled"] = model_scores(loose, examples)
    rows |= dict(floors(targets, library, seed))
    for name, path in twins.items():
        if not (path / "weights.safetensors").is_file():
            continue
        rows[f"twin {name}"] = model_scores(load(str(path / "weights.safetensors")), examples)
    means = {name: summary(some) for name, some in rows.items()}
    twin_means = {n.removeprefix("twin "): v for n, v in means.items() if n.startswith("twin ")}
    means = {n: v for n, v in means.items() if not n.startswith("twin ")}
    bounds, verdict = wanted(means["model"], means[THREADING])
    lines = table({n.replace("model", "**model**"): v for n, v in means.items()}).split("\n")
    lines.insert(3, bounds)
    grouped = ["| | chains | model | threading | TM, model |", "|---|---|---|---|---|"]
    for name, some in groups_of(targets).items():
        ours, theirs = ([rows[n][k]["lddt_ca"] for k in some] for n in ("model", THREADING))
        tm = np.mean([rows["model"][k]["tm_score"] for k in some])
        cells = f"{len(some)} | {np.mean(ours):.3f} | {np.mean(theirs):.3f} | {tm:.3f}"
        grouped.append(f"| {name} | {cells} |")
    seven = ["| | residues | relatives | " + " | ".join(SHIPPED) + " |", "|---" * 9 + "|"]
    seven += ["| " + " | ".join(line) + " |" for line in shipped_proteins(model, library)]
    plddt, truth = ([row[key] for row in rows["model"]] for key in ("plddt", "lddt_ca"))
    keys = [key for key in SCORES if key != "right"]
    text = ABOUT.format(
        count=len(targets),
        low=SHORTEST,
        high=LONGEST,
        main="\n".join(lines),
        verdict=verdict,
        compare=compare,
        twins=table(twin_means) if twin_means else "(not trained)",
        groups="\n".join(grouped),
        families=table(with_alignments(model, library, ("kunitz", "rrm", "egf"), data), keys),
        shipped="\n".join(seven),
        spearman=float(spearmanr(plddt, truth).statistic),
        plddt=float(np.mean(plddt)),
        command=command,
        hardware=hardware(),
    )
    (ROOT / "results" / "short_nano.md").write_text(text)
    with open(ROOT / "results" / "short_nano.csv", "w", newline="") as file:
        writer = csv.writer(file)
        columns = [*(key for key in SCORES if key != "right"), "turns_right", "turns_left"]
        writer.writerow(["predictor", "chain", "residues", "class", *columns])
        for name, some in rows.items():
            for x, row in zip(targets, some):
                chain = x.example.chain
                head = [name, f"{chain.name}_{chain.chain_id}", len(x.sequence), fold_class(x.ss)]
                writer.writerow([*head, *(f"{row[key]:.4f}" for key in columns)])
    draw(rows, ROOT / "results" / "short_nano.png")


SHIPPED = ("lDDT-Cα", "lDDT-Cα, \\|i-j\\| ≥ 6", "TM", "RMSD, Å", "clashes", "Cα-Cα error, Å")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minutes", type=float, metavar="M", help="train for so many CPU minutes")
    parser.add_argument("--compare", type=float, default=6, metavar="M", help="for each twin")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/short_nano"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    try:
        run(a.data, a.minutes, a.compare, a.seed, a.out)
    except BadInput as error:
        parser.error(str(error))


def run(data: Path, minutes: float | None, compare: float, seed: int, out: Path) -> None:
    """Train if there are minutes for it, and write the results."""
    twins = {name: out / f"{name.replace(' ', '-')}-{compare:g}-minutes" for name in TWINS}
    command = "python -m benchmarks.short_nano"
    if minutes:
        command += f" --minutes {minutes:g} --compare {compare:g} --seed {seed}"
        folder = out / f"{minutes:g}-minutes"
        train("toy-nano", minutes, seed, data, folder)
        for name, path in twins.items():
            train(TWINS[name], compare, seed, data, path)
        shutil.copyfile(folder / "weights.safetensors", ROOT / "weights" / "short-nano.safetensors")
    report(data, seed, twins, compare, command)


TWINS = {"from toy-nano": "toy-nano", "from random weights": None}


if __name__ == "__main__":
    main()
