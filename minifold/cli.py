"""The command line: ``minifold fold | search | evaluate | train | fetch | attention | ...``.

Every command has ``--help`` and ``--quiet``; results go to standard output (as one JSON object
with ``--json``), everything else to standard error. Bad input: one line and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from minifold.config import PRESETS
from minifold.errors import BadInput


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with SystemExit: 0, 2 for bad input, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        result = arguments.run(arguments)
    except BadInput as error:
        sys.exit(_say(f"minifold: {' '.join(str(error).split())}") or 2)
    except KeyboardInterrupt:
        sys.exit(_say("minifold: interrupted") or 130)
    if result is not None:
        print(json.dumps(result, indent=None if arguments.json else 1))
    sys.exit(0)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


# --- The commands -----------------------------------------------------------------------------
# Each imports what it needs when it runs, so that --help is instant.


def _one_thread() -> None:
    """Small models: their operators are too small to share, and waiting threads cost time."""
    import torch

    torch.set_num_threads(1)


def _fold(a: argparse.Namespace) -> dict | None:
    from minifold.pipeline import Pipeline

    if not str(a.weights).endswith(".npz"):
        _one_thread()
    pipeline = Pipeline(
        weights=a.weights,
        database=a.search,
        structures=a.templates,
        relax=a.relax,
        recycles=a.recycles,
        seed=a.seed,
        device=a.device,
        quiet=a.quiet,
    )
    prediction, paths = pipeline.run(a.input, a.out)
    if a.json:
        return prediction.scores()
    if not a.quiet:
        print(
            f"{prediction.name}: {len(prediction.sequence)} residues, "
            f"mean pLDDT {prediction.plddt.mean():.1f}"
        )
        print("\n".join(str(path) for path in paths))
    return None


def _relax(a: argparse.Namespace) -> dict | None:
    from minifold.data.structures import check_suffix, read_structure, write_structure
    from minifold.physics.relax import relax

    _one_thread()
    check_suffix(a.out)  # before a long computation
    found = relax(read_structure(a.input), seed=a.seed, quiet=a.quiet)
    write_structure(found.chain, a.out)
    if a.json:
        return found.report()
    if not a.quiet:
        print(found.table())
        print(a.out)
    return None


def _evaluate(a: argparse.Namespace) -> dict:
    from minifold.data.structures import read_structure
    from minifold.training.metrics import evaluate

    _one_thread()
    scores = evaluate(read_structure(a.predicted), read_structure(a.reference))
    return {key: round(value, 4) for key, value in scores.items()}


def _train(a: argparse.Namespace) -> dict | None:
    from minifold.training.runs import train

    _one_thread()
    scores = train(
        preset_name=a.preset,
        data=a.data,
        folder=a.out,
        steps=a.steps,
        minutes=a.minutes,
        seed=a.seed,
        device=a.device,
        resume=a.resume,
        quiet=a.quiet,
    )
    if a.json:
        return scores
    if not a.quiet:
        from minifold.training.runs import as_table

        print(as_table(scores))
        print(f"weights, log and curves are in {a.out}")
    return None


def _world(a: argparse.Namespace) -> dict | None:
    from minifold.data.toyworld import write_world

    paths = write_world(a.out, a.count, a.length, a.depth, a.seed)
    if a.json:
        return {"files": [str(path) for path in paths]}
    if not a.quiet:
        print("\n".join(str(path) for path in paths))
    return None


def _fetch(a: argparse.Namespace) -> dict | None:
    if a.structures and not a.short_chains:
        raise BadInput("--from says where --short-chains come from; give --short-chains N as well")
    if not (a.names or a.msa or a.short_chains):
        raise BadInput("nothing to fetch; name something, see minifold fetch --help")
    from minifold.data.fetch import align, fetch

    paths = fetch(a.names, a.out, quiet=a.quiet)
    if a.msa:
        paths += align(a.msa, a.out, quiet=a.quiet)
    result: dict = {"files": [str(path) for path in paths]}
    if a.short_chains:
        from minifold.data.short_chains import build

        result["short_chains"] = build(
            a.short_chains, a.out, a.structures, seed=a.seed, quiet=a.quiet
        )
    if a.json:
        return result
    if not a.quiet:
        print("\n".join(result["files"] + _short_chains(result.get("short_chains"), a.out)))
    return None


def _short_chains(made: dict | None, folder: Path) -> list[str]:
    """What was made and why other chains were not taken, as lines."""
    if made is None:
        return []
    return [
        f"{made['chains']} chains from {made['files']} files: {made['train']} to train on, "
        f"{made['val']} held out, in {made['clusters']} clusters",
        *(f"not taken: {number:6} {reason}" for reason, number in made["dropped"].items()),
        f"{folder / 'train'}, {folder / 'val'} and {folder / 'manifest.csv'}",
    ]


def _search(a: argparse.Namespace) -> dict | None:
    from minifold.data.msa import form_to_write, write_alignment
    from minifold.data.search import advice, neff, search

    form_to_write(a.out)  # before a long search
    found = search(a.query, a.database, a.method, a.iterations, a.evalue, quiet=a.quiet)
    write_alignment(found, a.out)
    if a.json:
        return {"file": str(a.out), "sequences": found.depth, "neff": round(neff(found), 2)}
    if not a.quiet:
        print(f"{advice(found)}\n{a.out}")
    return None


def _attention(a: argparse.Namespace) -> dict | None:
    from minifold.look.attention_view import attend, write_attention

    if not str(a.weights).endswith(".npz"):
        _one_thread()
    taps, prediction = attend(a.input, a.weights, a.recycles, a.seed, a.device)
    paths = write_attention(a.out, taps, prediction.chain, f"Attention: {prediction.name}")
    if a.json:
        return {"files": [str(path) for path in paths]}
    if not a.quiet:
        print("\n".join(str(path) for path in paths))
    return None


def _demo(a: argparse.Namespace) -> dict | None:
    from minifold.demo import run

    _one_thread()
    return run(a.out, minutes=a.minutes, seed=a.seed, quiet=a.quiet, as_json=a.json)


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


# --- Their arguments --------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minifold",
        description="AlphaFold2, small enough to read in a weekend.",
        epilog="minifold COMMAND --help tells more about a command.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = _adder(commands)

    fold = add("fold", _fold, "predict a structure from a sequence or an alignment")
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
        help="look for templates in these structures; the target itself is never taken",
    )
    fold.add_argument(
        "--relax", action="store_true", help="remove clashes and bad bonds (needs OpenMM)"
    )
    _out(fold, "out", "all files; a second call goes on where the first one stopped")

    relax = add("relax", _relax, "move a structure to where no bond is bent and no atoms clash")
    relax.add_argument("input", help="structure, .cif or .pdb; its first protein chain is taken")
    relax.add_argument(
        "--out",
        type=Path,
        default=Path("out/relaxed.cif"),
        metavar="FILE",
        help="the relaxed structure, .cif or .pdb, without hydrogens (default: %(default)s)",
    )

    evaluate = add("evaluate", _evaluate, "score a predicted structure against the true one")
    evaluate.add_argument("predicted", help="structure, .cif or .pdb")
    evaluate.add_argument("reference", help="true structure, .cif or .pdb")

    train = add("train", _train, "train a model")
    train.add_argument(
        "--preset",
        choices=list(PRESETS),
        default="nano",
        help="size of the model (default: %(default)s)",
    )
    train.add_argument(
        "--data",
        default="toy",
        metavar="toy|DIR",
        help="the toy world, or a folder of structures (.cif, .pdb) with their alignments "
        "(default: %(default)s)",
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

    world = add("world", _world, "write toy proteins and their families as .cif and .a3m")
    world.add_argument("--count", type=_count(1), default=10, help="proteins (default: 10)")
    world.add_argument("--length", type=_count(1), default=32, help="residues (default: 32)")
    world.add_argument("--depth", type=_count(1), default=64, help="sequences (default: 64)")
    _out(world, "out/world", "NAME.cif and NAME.a3m")

    fetch = add("fetch", _fetch, "get proteins, families and alignments from public databases")
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

    search = add("search", _search, "find relatives of a protein and align them to it")
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

    attention = add("attention", _attention, "write what the model attends to while it folds")
    _protein(attention)
    _out(attention, "out/attention", "attention.html, a picture of each kind, and attention.npz")

    demo = add("demo", _demo, "train on the shipped proteins, fold them, write a report")
    demo.add_argument(
        "--minutes",
        type=_positive,
        default=8.5,
        metavar="M",
        help="minutes of training (default: %(default)s)",
    )
    _out(demo, "out/demo", "report.html and the predictions")
    return parser


def _adder(commands) -> Callable[..., argparse.ArgumentParser]:
    """Adds a command with the options that all commands have."""

    def add(name: str, run: Callable, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=run)
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
