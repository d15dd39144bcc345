"""Align the families of data/sequences with HMMER and write data/sample_msas/*.a3m.

    python scripts/build_sample_msas.py [FOLDER]

Each family is aligned to its first record, the query. The result is the same byte for byte each
time (tests/test_shipped_data.py compares).
"""

from __future__ import annotations

import sys
from pathlib import Path

from minifold.data.msa import read_fasta, write_alignment
from minifold.data.search import align_family

DATA = Path(__file__).parent.parent / "data"
NAMES = {"kunitz": "kunitz_1bpi"}  # its query is the protein of 1bpi.cif


def main(folder: Path) -> None:
    for path in sorted((DATA / "sequences").glob("*.fasta")):
        alignment = align_family(read_fasta(path))
        target = folder / f"{NAMES.get(path.stem, path.stem)}.a3m"
        write_alignment(alignment, target)
        print(f"{target}: {alignment.depth} sequences, {len(alignment.query)} columns")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "sample_msas")
