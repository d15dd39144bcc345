"""The command line: ``minifold fold | search | evaluate | train | fetch | attention | ...``.

Every command has ``--help`` and ``--quiet``; results go to standard output (as one JSON object
with ``--json``), everything else to standard error. Bad input: one line and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from minifold.arguments import make_parser
from minifold.errors import BadInput


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with SystemExit: 0, 2 for bad input, 130 for Ctrl-C."""
    arguments = make_parser().parse_args(argv)
    try:
        result = COMMANDS[arguments.command](arguments)
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
        allow_target=a.allow_target,
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
    from minifold.training.runs import as_table, train

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
        begin=a.begin,
        recycles=a.recycles,
    )
    if not scores:
        return None  # the first process speaks for all
    if a.json:
        return scores
    if not a.quiet:
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


COMMANDS = {
    "fold": _fold,
    "relax": _relax,
    "evaluate": _evaluate,
    "train": _train,
    "world": _world,
    "fetch": _fetch,
    "search": _search,
    "attention": _attention,
    "demo": _demo,
}
