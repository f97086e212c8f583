"""With what a training was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys
from jamie.data import require_mudata

from ._stored import stored_training


@dataclass(frozen=True)
class Provenance:
    """What somebody needs to make a training again.

    Attributes
    ----------
    version
        Of jamie.
    versions
        Of the packages that its numbers rest on, by name.
    device
        That it ran on.
    seed
        `None` where a generator was passed, which has none.
    modalities
        In their order.
    recipe
        Every setting of the recipe, by name.
    """

    version: str
    versions: dict[str, str]
    device: str
    seed: int | None
    modalities: tuple[str, ...]
    recipe: dict[str, Any]


@document("mdata", "key_added")
def provenance(mdata: MuData, *, key_added: str = "jamie") -> Provenance:
    """Versions, seed, device and settings of the training.

    Parameters
    ----------
    {shared}

    Raises
    ------
    KeyError
        If `mdata` was not trained on.
    ValueError
        If another version of jamie wrote the slot.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20, rng=3)
    >>> made = jm.get.provenance(mdata)
    >>> made.seed, made.modalities, made.recipe["max_steps"]
    (3, ('rna', 'protein'), 20)
    """
    require_mudata(mdata)
    record = stored_training(mdata.uns, Keys(key_added).model)
    return Provenance(
        version=str(record["version"]),
        versions={name: str(version) for name, version in record["versions"].items()},
        device=str(record["device"]),
        seed=int(record["seed"]) if "seed" in record else None,
        modalities=tuple(map(str, record["modalities"])),
        recipe=dict(record["recipe"]),
    )
