"""Command line for pipelines: `jamie run`, `jamie demo`."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from jamie._compat import version
from jamie._errors import JamieError
from jamie._interrupts import interruptible, signal_of

OK, FAILED = 0, 1
INTERRUPTED = {"SIGINT": 130, "SIGTERM": 143}
"""As a shell counts: 128 and the number of the signal."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0, 1 for a message on stderr, 2 for wrong usage, 130 for Ctrl-C and 143 for SIGTERM, also where the signal ended the
    training alone, and what was learned by then is written.
    """
    given = _parser().parse_args(arguments)
    _print_anything()
    try:
        with interruptible():
            interrupted = _command(given)
    except KeyboardInterrupt as error:
        print("jamie: interrupted, the output was not written", file=sys.stderr)
        return INTERRUPTED[signal_of(error)]
    except (JamieError, KeyError, TypeError, ValueError, OSError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"jamie: error: {message}", file=sys.stderr)
        return FAILED
    if interrupted:
        print(
            f"jamie: the training was interrupted ({interrupted}); what was written has what was learned by then",
            file=sys.stderr,
        )
        return INTERRUPTED[interrupted]
    return OK


def _command(given: argparse.Namespace) -> str:
    """Run a command; the name of the signal that ended its training early, or nothing."""
    if given.command == "demo":
        from ._demo import demo

        demo(given.out, seed=given.seed)
        return ""
    from ._run import run

    return run(given)


def _print_anything() -> None:
    """Show what the terminal or pipe has no character for as an escape, instead of failing at the end."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _path(text: str) -> Path:
    """A path; empty text, as of a variable of the shell that is not set, would be this folder."""
    if not text:
        msg = "expected a path, found empty text"
        raise argparse.ArgumentTypeError(msg)
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jamie", description="Joint embedding and imputation of single-cell modalities."
    )
    parser.add_argument("--version", action="version", version=f"jamie-tools {version('jamie-tools')}")
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="train on a MuData, embed and impute, write a MuData")
    run.add_argument("input", type=_path, metavar="IN.h5mu")
    run.add_argument("-o", "--output", type=_path, required=True, metavar="OUT.h5mu")
    run.add_argument(
        "--impute", type=_direction, action="append", default=[], metavar="SOURCE:TARGET", help="may be repeated"
    )
    run.add_argument(
        "--interval", type=float, metavar="LEVEL", help="bounds beside the imputed values, 0.9 for nine in ten"
    )
    run.add_argument("--recipe", default="default", help="default, integrate or paper")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--max-steps", type=int, help="fewer training steps than the recipe's")
    run.add_argument(
        "--test-fraction", type=float, help="hold out this share of the cells and score them beside baselines"
    )
    run.add_argument("--labels", metavar="COLUMN", help="column of .obs for label transfer and colours")
    run.add_argument("--figures", type=_path, metavar="DIR", help="draw embedding, history and imputation there")
    run.add_argument(
        "--report",
        type=_path,
        metavar="FILE.html",
        help="write one page there: whether it worked, scores, figures",
    )
    run.add_argument(
        "--checkpoint", type=_path, metavar="DIR", help="keep the training there, and go on with it if it was killed"
    )
    run.add_argument("--model", type=_path, metavar="FILE", help="save the trained model there")

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
