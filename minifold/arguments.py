"""The arguments of every command of ``minifold.cli``, and what --help says."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from minifold.config import PRESETS

FETCH_HELP = """\
forms of NAME:
  1UBQ       entry of the PDB             1ubq.cif
  P00974     sequence in UniProt          P00974.fasta
  AF-P00974  model in the AlphaFold DB    AF-P00974-F1.cif
  PF00014    seed alignment in Pfam       PF00014.sto  (PF00014.full: the full one)
  1BPI_A     alignment in OpenProteinSet  1bpi_A.a3m

What was fetched is kept in ~/.cache/minifold (or MINIFOLD_CACHE) and checked when it is used
again; broken downloads are continued. minifold train --data DIR/train trains on short chains.
"""


SEARCH_HELP = """\
methods, all of them HMMER's:
  phmmer     with the query sequence alone
  hmmsearch  with the profile of the query's alignment
  jackhmmer  the same, then with the profile of the hits, until nothing new is found (default)

minifold fold takes the result as input. More sequences: minifold fetch --msa QUERY.fasta asks
ColabFold's server; minifold fetch PF00014.full gets a Pfam family to search in.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; what it returns has the name of the command in ``command``."""
    parser = argparse.ArgumentParser(
        prog="minifold",
        description="AlphaFold2, small enough to read in a weekend.",
        epilog="minifold COMMAND --help tells more about a command.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add = _adder(commands)

    fold = add("fold", "predict a structure from a sequence or an alignment")
    _protein(fold)
    fold.add_argument(
        "--search",
        type=Path,
        metavar="DATABASE",
        help="search these sequences for homologs first: a FASTA file or a folder of such files",
    )
    fold.add_argument(
        "--templates",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE|FOLDER",
        help="look for templates in these structures; near copies of the target are left out",
    )
    fold.add_argument(
        "--allow-target",
        action="store_true",
        help="take also structures of the target itself: for experiments, it is the answer",
    )
    fold.add_argument(
        "--relax", action="store_true", help="remove clashes and bad bonds (needs OpenMM)"
    )
    _out(fold, "out", "all files; a second call goes on where the first one stopped")

    relax = add("relax", "move a structure to where no bond is bent and no atoms clash")
    relax.add_argument("input", help="structure, .cif or .pdb; its first protein chain is taken")
    relax.add_argument(
        "--out",
        type=Path,
        default=Path("out/relaxed.cif"),
        metavar="FILE",
        help="the relaxed structure, .cif or .pdb, without hydrogens (default: %(default)s)",
    )

    evaluate = add("evaluate", "score a predicted structure against the true one")
    evaluate.add_argument("predicted", help="structure, .cif or .pdb")
    evaluate.add_argument("reference", help="true structure, .cif or .pdb")

    train = add("train", "train a model")
    train.add_argument(
        "--preset",
        choices=list(PRESETS),
        default="nano",
        help="size of the model: nano learns in minutes on a CPU, mini on a GPU "
        "(default: %(default)s)",
    )
    train.add_argument(
        "--data",
        default="toy",
        metavar="toy|DIR",
        help="the toy world, or a folder of structures (.cif, .pdb) with their alignments "
        "(default: %(default)s)",
    )
    train.add_argument(
        "--from",
        dest="begin",
        metavar="WEIGHTS",
        help="train these on: a name (toy-nano) or a .safetensors file, of its own size, not of "
        "--preset (default: random weights)",
    )
    train.add_argument(
        "--recycles",
        type=_count(0),
        metavar="N",
        help="practise recycling: 0 to N times, at random (default: as the preset or the weights)",
    )
    train.add_argument("--steps", type=_count(1), metavar="N", help="stop after N steps")
    train.add_argument(
        "--minutes",
        type=_positive,
        metavar="M",
        help="stop after M minutes: of CPU time (all threads together), on a GPU of wall time",
    )
    train.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the output folder"
    )
    _out(train, "out/train", "weights, checkpoint, log and curves")

    world = add("world", "write toy proteins and their families as .cif and .a3m")
    world.add_argument("--count", type=_count(1), default=10, help="proteins (default: 10)")
    world.add_argument("--length", type=_count(1), default=32, help="residues (default: 32)")
    world.add_argument("--depth", type=_count(1), default=64, help="sequences (default: 64)")
    _out(world, "out/world", "NAME.cif and NAME.a3m")

    fetch = add("fetch", "get proteins, families and alignments from public databases")
    fetch.formatter_class = argparse.RawDescriptionHelpFormatter
    fetch.epilog = FETCH_HELP
    fetch.add_argument("names", nargs="*", metavar="NAME", help="what to get, forms below")
    fetch.add_argument(
        "--msa",
        type=Path,
        metavar="QUERY.fasta",
        help="send these sequences to ColabFold's public server; writes an alignment of each",
    )
    fetch.add_argument(
        "--short-chains",
        type=_count(1),
        metavar="N",
        help="a training set of up to N X-ray chains of 30 to 100 residues, 2.5 Å or better, in "
        "train/ and val/ without homology between them, and manifest.csv",
    )
    fetch.add_argument(
        "--from",
        dest="structures",
        type=Path,
        metavar="FOLDER",
        help="take the short chains from the structure files in a folder, not from the PDB",
    )
    _out(fetch, ".", "the files")

    search = add("search", "find relatives of a protein and align them to it")
    search.formatter_class = argparse.RawDescriptionHelpFormatter
    search.epilog = SEARCH_HELP
    search.add_argument("query", help="FASTA with one sequence, or an alignment (.a3m, .sto)")
    search.add_argument(
        "database", nargs="?", help="FASTA, .a3m, .sto, or a folder (default: the shipped families)"
    )
    methods = ["jackhmmer", "hmmsearch", "phmmer"]
    search.add_argument("--method", choices=methods, default=methods[0], help="see below")
    search.add_argument(
        "--iterations", type=_count(1), default=3, metavar="N", help="of jackhmmer (default: 3)"
    )
    search.add_argument(
        "--evalue",
        type=_positive,
        default=1e-3,
        metavar="E",
        help="take hits of which so many or fewer would come by chance (default: %(default)s)",
    )
    search.add_argument(
        "--out",
        type=Path,
        default=Path("hits.a3m"),
        metavar="FILE",
        help="alignment, .a3m or .sto (default: %(default)s)",
    )

    attention = add("attention", "write what the model attends to while it folds")
    _protein(attention)
    _out(attention, "out/attention", "attention.html, pictures and attention.npz")

    demo = add("demo", "train on toy proteins, fold unseen ones and real ones, write a report")
    demo.add_argument(
        "--minutes",
        type=_positive,
        default=3.0,
        metavar="M",
        help="minutes of training (default: %(default)s)",
    )
    _out(demo, "out/demo", "report.html and the predictions")
    return parser


def _adder(commands) -> Callable[..., argparse.ArgumentParser]:
    """Adds a command with the options that all commands have."""

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("--seed", type=int, default=0, help="of all random numbers")
        command.add_argument(
            "--device",
            choices=["auto", "cpu", "cuda", "mps"],
            default="auto",
            help="where to compute (default: a CUDA GPU if there is one)",
        )
        command.add_argument("--quiet", action="store_true", help="no progress and no summary")
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        return command

    return add


def _protein(command: argparse.ArgumentParser) -> None:
    """What is folded, and by which weights."""
    command.add_argument(
        "input", help="a .fasta, .a3m or .sto file (query first), or a raw sequence"
    )
    command.add_argument(
        "--weights",
        default="seven-nano",
        metavar="NAME|FILE",
        help="shipped weights, a .safetensors file, or DeepMind's params_model_*.npz "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--recycles",
        type=_count(0),
        metavar="N",
        help="how often the result is fed back (default: what the weights were trained with)",
    )


def _out(command: argparse.ArgumentParser, default: str, what: str) -> None:
    command.add_argument(
        "--out",
        type=Path,
        default=Path(default),
        metavar="DIR",
        help=f"folder for {what} (default: {default})",
    )


def _count(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value
