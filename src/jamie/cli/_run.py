"""`jamie run`: one MuData in, one out."""

from __future__ import annotations

import argparse
from pathlib import Path

import mudata
from mudata import MuData

import jamie as jm
from jamie._checks import require_name
from jamie._compat import quiet_mudata
from jamie._errors import InvalidValueError, MissingFileError
from jamie.data import labels

from ._figures import headless, save
from ._write import write_mudata


def run(given: argparse.Namespace) -> None:
    """Train, embed, impute, and write the results last."""
    if given.output.suffix != ".h5mu":
        mend = given.output.with_suffix(".h5mu")
        msg = f"expected an output that ends in '.h5mu', found {str(given.output)!r}; pass --output {mend}"
        raise InvalidValueError(msg)
    mdata = _read(given.input)
    for direction in given.impute:
        for name, role in zip(direction, ("source", "target"), strict=True):
            require_name(name, list(mdata.mod), name=f"--impute {role}")
    if given.labels is not None:
        labels(mdata, given.labels, argument="--labels")
    if given.test_fraction is not None:
        jm.pp.split(mdata, test_fraction=given.test_fraction, rng=given.seed)
    model = jm.tl.train(mdata, recipe=given.recipe, max_steps=given.max_steps, device=given.device, rng=given.seed)
    for source, target in given.impute:
        jm.tl.impute(mdata, model, source=source, target=target)
    if given.test_fraction is not None:
        table = jm.tl.evaluate(mdata, model, labels=given.labels, rng=given.seed)
        print(table.round(3).to_string(index=False))
    if given.figures is not None:
        with headless():
            save(jm.pl.embedding(mdata, color=given.labels), given.figures / "embedding.png")
            save(jm.pl.history(mdata), given.figures / "history.png")
            for source, target in given.impute:
                figure = jm.pl.imputation(mdata, source=source, target=target)
                save(figure, given.figures / f"imputation_{source}_{target}.png")
    if given.model is not None:
        model.save(given.model)
    write_mudata(mdata, given.output)


def _read(path: Path) -> MuData:
    if not path.is_file():
        msg = f"expected a MuData file at {path}, found none"
        raise MissingFileError(msg)
    try:
        with quiet_mudata():
            return mudata.read_h5mu(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # mudata raises whatever its reading of an AnnData or of half a file comes to
        msg = (
            f"expected a MuData file (.h5mu) at {path}, found what cannot be read as one ({error}); of AnnData "
            "make one, mudata.MuData({'rna': rna, 'protein': protein}).write('input.h5mu')"
        )
        raise InvalidValueError(msg) from error
