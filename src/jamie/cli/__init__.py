"""Command line for pipelines: `jamie run`, `jamie demo`."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from jamie._errors import JamieError

OK, FAILED, INTERRUPTED = 0, 1, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a message on stderr, 2 for wrong usage, 130 for Ctrl-C."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "demo":
            from ._demo import demo

            demo(given.out, seed=given.seed)
        else:
            from ._run import run

            run(given)
    except KeyboardInterrupt:
        print("jamie: interrupted, the output was not written", file=sys.stderr)
        return INTERRUPTED
    except (JamieError, KeyError, TypeError, ValueError, OSError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"jamie: error: {message}", file=sys.stderr)
        return FAILED
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jamie", description="Joint embedding and imputation of single-cell modalities."
    )
    parser.add_argument("--version", action="version", version=f"jamie-tools {version('jamie-tools')}")
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="train on a MuData, embed and impute, write a MuData")
    run.add_argument("input", type=Path, metavar="IN.h5mu")
    run.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.h5mu")
    run.add_argument(
        "--impute", type=_direction, action="append", default=[], metavar="SOURCE:TARGET", help="may be repeated"
    )
    run.add_argument("--recipe", default="default", help="default, integrate or paper")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--max-steps", type=int, help="fewer training steps than the recipe's")
    run.add_argument(
        "--test-fraction", type=float, help="hold out this share of the cells and score them beside baselines"
    )
    run.add_argument("--labels", metavar="COLUMN", help="column of .obs for label transfer and colours")
    run.add_argument("--figures", type=Path, metavar="DIR", help="draw embedding, history and imputation there")
    run.add_argument("--model", type=Path, metavar="FILE", help="save the trained model there")

    demo = commands.add_parser("demo", help="the main job on real cells, which are fetched once, or on simulated ones")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")
    demo.add_argument("--seed", type=int, default=0)
    return parser


def _direction(text: str) -> tuple[str, str]:
    source, colon, target = text.partition(":")
    if not (source and colon and target):
        msg = f"expected SOURCE:TARGET such as rna:ephys, found {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return source, target
