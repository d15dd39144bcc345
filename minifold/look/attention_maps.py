"""Attention maps out of a record: which of them are shown, in which order, and as bytes.

A map is [query, key] for one kind of attention, pass, block, head and slice: the rows that an
attention runs over (sequences, columns, the third corner of the triangles) one by one, or their
mean. What does not fit into a budget of bytes is left out, whole slices at a time, in this order:
other slices, earlier passes, then kinds from the last one on.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from minifold.data.residues import ONE_TO_THREE
from minifold.look.taps import Record

BYTES_PER_MAP = 12_500  # the budget, for 64 residues: a map of one block and head has 4096 weights
LEAST_BYTES = 200_000  # or this, if it is more


@dataclass(frozen=True)
class Kind:
    """One kind of attention; {q} and {k} stand for query and key, {row} for the slice."""

    label: str
    stack: str
    says: str
    on_average: str = ""  # what the mean over all rows says
    sequences: bool = False  # queries and keys are sequences, not residues
    row: str = ""  # what the rows are: "sequence" or "residue"


KINDS = {
    "msa_row": Kind(
        "MSA rows",
        "evoformer",
        "In {row}, {q} looks at {k}",
        "On average over all sequences, {q} looks at {k}",
        row="sequence",
    ),
    "ipa": Kind("invariant points (IPA)", "structure", "{q} looks at {k}"),
    "triangle_starting": Kind(
        "triangles, starting node",
        "evoformer",
        "The edge {row} → {q} looks at the edge {row} → {k}",
        "On average over all i, the edge i → {q} looks at the edge i → {k}",
        row="residue",
    ),
    "triangle_ending": Kind(
        "triangles, ending node",
        "evoformer",
        "The edge {q} → {row} looks at the edge {k} → {row}",
        "On average over all j, the edge {q} → j looks at the edge {k} → j",
        row="residue",
    ),
    "msa_column": Kind(
        "MSA columns",
        "evoformer",
        "At {row}, {q} looks at {k}",
        "On average over all residues, {q} looks at {k}",
        sequences=True,
        row="residue",
    ),
}


@dataclass(frozen=True)
class Maps:
    """The maps of one kind, pass and slice: all blocks and heads."""

    kind: str
    recycle: int
    row: int | None  # None: the mean over rows, or there are no rows
    label: str  # of the slice
    code: str  # how to get one of them from a Record, with {b} and {h}
    blocks: tuple[int, ...]
    weights: Float[np.ndarray, "blocks h q k"]


def in_order(record: Record, most: int) -> Iterator[Maps]:
    """All maps of a record, the most telling first."""
    passes = sorted({int(name[7:].split("/")[0]) for name in record.match("recycle*")})
    last = passes[-1:]
    groups = {(r, kind): _group(record, r, kind, most) for r in passes for kind in KINDS}
    for recycle in last + passes[:-1]:
        for kind in KINDS:
            yield from groups[recycle, kind][:1]
    # then the slices of the last pass, one of each kind in turn
    waiting = [groups[recycle, kind][1:] for recycle in last for kind in KINDS]
    for k in range(max(map(len, waiting), default=0)):
        yield from (group[k] for group in waiting if k < len(group))


def _group(record: Record, recycle: int, kind: str, most: int) -> list[Maps]:
    """The slices of one kind in one pass; first the mean, but of MSA rows the query's own row."""
    stack = KINDS[kind].stack
    found = {}
    for name in record.match(f"recycle{recycle}/{stack}.*/{kind}"):
        found[int(re.fullmatch(rf".*/{stack}\.(\d+)/{kind}", name).group(1))] = record[name]
    if not found:
        return []
    numbers = sorted(found)
    blocks = tuple(numbers[k] for k in evenly(len(numbers), most))
    weights = np.stack([found[b] for b in blocks])  # [blocks, (row), h, q, k]
    tap = f'taps["recycle{recycle}/{stack}.{{b}}/{kind}"]'

    def maps(row: int | None, label: str, code: str, values: np.ndarray) -> Maps:
        return Maps(kind, recycle, row, label, tap + code, blocks, values)

    if weights.ndim == 4:
        mean = f"mean over {KINDS[kind].row}s" if KINDS[kind].row else ""
        return [maps(None, mean, "[{h}]", weights)]
    names = residue_names(record)
    kept = record.get("input/rows", np.arange(weights.shape[1])).tolist()
    of_residues = KINDS[kind].row == "residue"
    slices = [
        maps(row, names[row] if of_residues else _sequence(row), f"[{k}, {{h}}]", weights[:, k])
        for k, row in enumerate(kept)
    ]
    slices = [slices[k] for k in _spread(len(slices))]
    if "input/rows" not in record:
        mean = maps(None, f"mean over {KINDS[kind].row}s", ".mean(0)[{h}]", weights.mean(1))
        slices.insert(0 if of_residues else 1, mean)
    return slices


def evenly(count: int, most: int) -> list[int]:
    """At most so many of 0 to count - 1, the first and the last among them."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()


def _spread(n: int) -> list[int]:
    """0 to n - 1: the first, the last, then always the middle of what is still open."""
    order, step = [0, n - 1] if n > 1 else [0], n - 1
    while len(order) < n:
        step = max(step / 2, 1)
        order += np.arange(0, n - 1, step).round().astype(int).tolist()
        order = list(dict.fromkeys(order))
    return order


def that_fit(maps: list[Maps], n: int, max_bytes: int | None) -> list[Maps]:
    """The maps within the budget, those that come first, and always the very first."""
    if max_bytes is None:
        count = max(m.weights.shape[0] * m.weights.shape[1] for m in maps)
        max_bytes = max(LEAST_BYTES, round(BYTES_PER_MAP * count * (n / 64) ** 2))
    kept, used, full = [], 0, 0
    for m in maps:
        size = len(zlib.compress(quantised(m.weights).tobytes(), 9)) * 4 // 3
        if not kept or used + size <= max_bytes:
            kept.append(m)
            used += size
        else:
            full += 1
            if full == 10:  # what comes now is slices of the same sizes
                break
    return kept


def quantised(weights: Float[np.ndarray, "blocks h q k"]) -> UInt8[np.ndarray, "blocks h q k"]:
    """Bytes, 255 for the largest weight of each map."""
    largest = weights.max((2, 3), keepdims=True)
    return np.rint(255 * weights / np.where(largest > 0, largest, 1)).astype(np.uint8)


def residue_names(record: Record) -> list[str]:
    """Such as "Cys 5", numbered from 1."""
    numbers = record["input/residue_index"].tolist()
    return [f"{ONE_TO_THREE[x].capitalize()} {k + 1}" for x, k in zip(record.sequence, numbers)]


def _sequence(row: int) -> str:
    return "the query (sequence 1)" if row == 0 else f"sequence {row + 1}"
