"""`jamie run`: one MuData in, one out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import mudata
from mudata import MuData

import jamie as jm
from jamie._atomic import as_path, require_ours, writing
from jamie._checks import require_name
from jamie._compat import quiet_mudata
from jamie._errors import InvalidValueError, MissingFileError, WriteError
from jamie._settings import is_first
from jamie.correspondence import likeliest
from jamie.data import is_signed, labels, open_cells
from jamie.model import FEWEST_CALIBRATED, HIGHEST_LEVEL, is_sealed, require_level
from jamie.pl import is_report
from jamie.train import RECIPES

from ._figures import headless, save
from ._write import write_mudata


def run(given: argparse.Namespace) -> str:
    """Train, embed, impute, and write the results last; the name of the signal that ended the training early, if any.

    Places to write to are checked, and kept from others, before anything is computed.
    """
    if given.output.suffix != ".h5mu":
        mend = given.output.with_suffix(".h5mu")
        msg = f"expected an output that ends in '.h5mu', found {str(given.output)!r}; pass --output {mend}"
        raise InvalidValueError(msg)
    mdata = _read(given.input)
    for direction in given.impute:
        for name, role in zip(direction, ("source", "target"), strict=True):
            require_name(name, list(mdata.mod), name=f"--impute {role}")
    if given.interval is not None:
        _require_interval(given)
    if given.labels is not None:
        labels(mdata, given.labels, argument="--labels")
    if given.test_fraction is not None:
        jm.pp.split(mdata, test_fraction=given.test_fraction, rng=given.seed)
    if given.interval is not None:
        _require_pairs(given, mdata)
    with _outputs(given):
        return _results(given, mdata)


def _require_interval(given: argparse.Namespace) -> None:
    """Raise if there can be no interval of this level, before anything is trained."""
    require_level(given.interval, HIGHEST_LEVEL)
    if not given.impute:
        msg = "expected --impute with --interval, found none: bounds are of imputed values; pass --impute rna:protein"
        raise InvalidValueError(msg)
    if given.recipe in RECIPES and not RECIPES[given.recipe].kernel_mix:
        msg = f"expected a recipe that is calibrated, found {given.recipe!r} with --interval; pass --recipe default"
        raise InvalidValueError(msg)


def _require_pairs(given: argparse.Namespace, mdata: MuData) -> None:
    """Raise if an imputation that is asked for cannot be calibrated, before anything is trained."""
    cells = open_cells(mdata)
    for source, target in given.impute:
        if source == target:
            msg = (
                f"expected --impute of another modality with --interval, found {source}:{target}, a reconstruction; "
                "leave out --interval"
            )
            raise InvalidValueError(msg)
        n = len(likeliest(cells.known_of_training(source, target))[0])
        if n < FEWEST_CALIBRATED:
            msg = (
                f"expected at least {FEWEST_CALIBRATED} known pairs of {source!r} and {target!r} to learn from with "
                f"--interval, found {n}; leave out --interval, or hold out fewer cells"
            )
            raise InvalidValueError(msg)


@contextmanager
def _outputs(given: argparse.Namespace) -> Iterator[None]:
    """Hold the places that will be written to; folders that are missing are made, and taken away if nothing came."""
    options = {"--output": given.output, "--model": given.model, "--report": given.report}
    files = [path for path in options.values() if path is not None]
    folders = {"--checkpoint": given.checkpoint, "--figures": given.figures}
    for option, path in (options | folders).items():
        if path is not None:
            as_path(path, name=option)
    taken: dict[Path, str] = {path.resolve(): option for option, path in folders.items() if path is not None}
    if given.output.resolve() != given.input.resolve():  # that one is replaced in one piece, if it is meant
        taken[given.input.resolve()] = "the input"
    for option, path in options.items():
        other = option if path is None else taken.setdefault(path.resolve(), option)
        if other != option:
            msg = f"expected another file for {option} than for {other}, found {str(path)!r} for both"
            raise InvalidValueError(msg)
    if not is_first():
        yield
        return
    made = [folder for path in files for folder in _made(path.parent, path)]
    if given.figures is not None:
        made += _made(given.figures, given.figures)
    try:
        with ExitStack() as held:
            for path in files:
                held.enter_context(writing(path))
            for path, is_ours, option in (
                (given.output, is_signed, "--output"),
                (given.model, is_sealed, "--model"),
                (given.report, is_report, "--report"),
            ):
                if path is not None and path.resolve() != given.input.resolve():
                    require_ours(path.resolve(), path, is_ours, argument=option)
            yield
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # which says that something is in it
                folder.rmdir()


def _made(folder: Path, path: Path) -> list[Path]:
    """Make a folder and those above it; those that were not there."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"expected to write `{path}`, found that there can be no folder {str(folder)!r} ({error.strerror})"
        raise WriteError(msg) from error
    return missing


def _results(given: argparse.Namespace, mdata: MuData) -> str:
    model = jm.tl.train(
        mdata,
        recipe=given.recipe,
        max_steps=given.max_steps,
        device=given.device,
        checkpoint=given.checkpoint,
        rng=given.seed,
    )
    for source, target in given.impute:
        jm.tl.impute(mdata, model, source=source, target=target, interval=given.interval)
    if given.test_fraction is not None:
        table = jm.tl.evaluate(mdata, model, labels=given.labels, rng=given.seed)
        print(table.round(3).to_string(index=False))
    if given.report is not None:
        jm.tl.diagnose(mdata, model, labels=given.labels, rng=given.seed)
    if given.model is not None:
        model.save(given.model)
    write_mudata(mdata, given.output)  # before the figures: what was computed is kept, whatever they come to
    if given.figures is not None:
        with headless():
            save(jm.pl.embedding(mdata, color=given.labels), given.figures / "embedding.png")
            save(jm.pl.history(mdata), given.figures / "history.png")
            for source, target in given.impute:
                figure = jm.pl.imputation(mdata, source=source, target=target)
                save(figure, given.figures / f"imputation_{source}_{target}.png")
    if given.report is not None and is_first():
        with headless():
            jm.pl.report(mdata, model, given.report, labels=given.labels)
    return model.summary_.interrupted


def _read(path: Path) -> MuData:
    if not path.is_file():
        msg = f"expected a MuData file at {path}, found none"
        raise MissingFileError(msg)
    try:
        with quiet_mudata():
            mdata = mudata.read_h5mu(path)
        if not mdata.mod:  # as mudata 0.4 reads an AnnData
            msg = "no modality"
            raise ValueError(msg)
        return mdata
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # mudata raises whatever its reading of an AnnData or of half a file comes to
        msg = (
            f"expected a MuData file (.h5mu) at {path}, found what cannot be read as one ({error}); of AnnData "
            "make one, mudata.MuData({'rna': rna, 'protein': protein}).write('input.h5mu')"
        )
        raise InvalidValueError(msg) from error
