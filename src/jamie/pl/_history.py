"""How training went."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from mudata import MuData

from jamie import get
from jamie._docs import document

from ._style import PALETTE, bare, with_plain_names, with_plain_ticks

TERMS = {
    "reconstruction": "reconstruction, own modality",
    "cross": "reconstruction, other modality",
    "contrastive": "contrastive",
    "combination": "combination",
    "kl": "KL divergence",
    "alignment": "alignment, inferred partners",
}


@with_plain_names
@document("mdata", "ax", "key_added")
def history(mdata: MuData, *, ax: Axes | None = None, key_added: str = "jamie") -> Axes:
    """Draw the terms of the loss over the training, and the score by which the weights were chosen.

    Reconstruction is the error as a share of the variance, summed over modalities. The dotted line is the step whose
    weights were kept.

    Parameters
    ----------
    {shared}

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If `mdata` was not trained on.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.pl.history(mdata).get_xlabel()
    'step'
    """
    frame = get.history(mdata, key_added=key_added)
    summary = get.summary(mdata, key_added=key_added)
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for (term, label), color in zip(TERMS.items(), PALETTE, strict=False):
        if (frame[term] > 0).any():
            ax.plot(frame["step"], frame[term], color=color, lw=1.4, label=label)
    if summary.cells == "validation":
        ax.plot(frame["step"], frame["score"], color="black", lw=1.6, ls="--", label="other modality, held-out pairs")
    ax.axvline(summary.best_step, color="0.4", lw=1, ls=":")
    ax.set_yscale("log")
    with_plain_ticks(ax.yaxis)
    ax.set_xlabel("step", fontsize=8)
    ax.set_ylabel("loss term, unweighted", fontsize=8)
    ax.tick_params(labelsize=7, which="both")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return bare(ax)
