"""Where each result is written: every slot name of the package, in one place.

A slot name is a prefix, a reserved word, and at most two free names: modalities, label columns, features. The reserved
word comes first, so that no free name can be mistaken for another slot. Where two free names follow each other, one
that holds an underscore or a bracket stands in brackets, so that ("rna", "nuc_atac") and ("rna_nuc", "atac") do not
meet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jamie._errors import InvalidValueError

SCHEMA = 1
"""Of what is written to `.uns`; a slot of another one is refused by its readers."""
KIND = "jamie_kind"
"""`mdata[m].uns`: kind of a modality whose values no longer tell it; of the data, so that no prefix changes it."""
RESERVED = (
    "auroc", "confidence", "correlation", "correspondence", "diagnosis", "evaluation", "imputation", "imputed",
    "inferred", "input", "js_distance", "kind", "knockout", "knockout_by_distance", "known", "label", "links",
    "loadings", "match", "models", "novelty", "placed_by", "reconstructed", "role", "scores", "sd_ratio", "seen",
    "shap", "split",
)  # fmt: skip
"""Words that follow the prefix."""
_TAKEN = re.compile(rf".(_({'|'.join(RESERVED)})(_.*)?)$", re.DOTALL)

_ENDS = ("lower", "upper")
_BESIDE = re.compile(r"_(lower|upper|sample_\d+)")
"""How slots beside imputed values end."""


def is_file_name(name: object) -> bool:
    """Whether HDF5 and zarr can hold it as a key: text that is not blank, without ``/`` and NUL, no folder."""
    if not isinstance(name, str) or not name.strip() or name in (".", ".."):
        return False
    try:
        encoded = name.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
    return not set(encoded) & set(b"/\0")


@dataclass(frozen=True)
class Keys:
    """Slot names derived from one prefix (`key_added`, ``"jamie"`` by default).

    Raises
    ------
    InvalidValueError
        If the prefix is no name for a file, starts with ``X_``, which is put before it, or goes on with a reserved
        word, so that its slots could be those of a shorter prefix; also if a free name is no name for a file.
    """

    prefix: str = "jamie"

    def __post_init__(self) -> None:
        name = self.prefix
        if not is_file_name(name) or name != name.strip():
            msg = (
                f"expected `key_added` as a name that a file can hold, found {name!r}; pass text without '/', "
                "such as key_added='second'"
            )
            raise InvalidValueError(msg)
        if name == "X" or name.startswith("X_"):
            shown = name.removeprefix("X").strip("_") or "second"
            msg = f"expected `key_added` without 'X_', which is put before it, found {name!r}; pass key_added={shown!r}"
            raise InvalidValueError(msg)
        taken = _TAKEN.search(name)
        if taken:
            msg = (
                f"expected `key_added` of which no slot could be that of another, found {name!r}, where "
                f"{taken.group(1)!r} would be taken for a slot of {name.removesuffix(taken.group(1))!r}; pass another "
                "name, such as key_added='second'"
            )
            raise InvalidValueError(msg)

    @property
    def split(self) -> str:
        """`mdata.obs`: ``"train"`` or ``"test"``."""
        return f"{self.prefix}_split"

    def known(self, a: str, b: str) -> str:
        """`mdata.obsp`: known pairs F of modalities `a` and `b`."""
        return f"{self.prefix}_known_{_both(a, b)}"

    def inferred(self, a: str, b: str) -> str:
        """`mdata.obsp`: inferred correspondence F̃ of `a` and `b`; `mdata.uns`: how it was found."""
        return f"{self.prefix}_inferred_{_both(a, b)}"

    def match(self, a: str, b: str) -> str:
        """`mdata.obsp`: likeliest partners in `b` of the cells of `a`, by the latent."""
        return f"{self.prefix}_match_{_both(a, b)}"

    @property
    def correspondence(self) -> str:
        """`mdata.uns`: table of how well a correspondence agrees with what is known."""
        return f"{self.prefix}_correspondence"

    def label(self, column: str) -> str:
        """`mdata[target].obs`: labels of this column, carried over from another modality."""
        return f"{self.prefix}_label_{_free(column)}"

    def confidence(self, column: str) -> str:
        """`mdata[target].obs`: share of the votes for the label that was carried over."""
        return f"{self.prefix}_confidence_{_free(column)}"

    def seen(self, column: str) -> str:
        """`mdata[target].obs`: what each cell is to the model by which its label was carried over."""
        return f"{self.prefix}_seen_{_free(column)}"

    @property
    def input(self) -> str:
        """`mdata[m].obsm`: prepared input, cells × components."""
        return f"X_{self.prefix}_input"

    @property
    def loadings(self) -> str:
        """`mdata[m].varm`: loadings of the components, features × components."""
        return f"{self.prefix}_loadings"

    @property
    def preparation(self) -> str:
        """`mdata[m].uns`: how the input was prepared."""
        return f"{self.prefix}_input"

    @property
    def latent(self) -> str:
        """`mdata[m].obsm` and `mdata.obsm`: latents, cells × latent dimensions."""
        return f"X_{self.prefix}"

    @property
    def role(self) -> str:
        """`mdata[m].obs`: what each cell is to the model that placed it."""
        return f"{self.prefix}_role"

    def role_for(self, target: str, *sources: str) -> str:
        """`mdata[source].obs`, of several `mdata.obs`: what each cell is to the model that imputed for it."""
        return f"{self.prefix}_role_{_of_several(target, sources)}"

    @property
    def placed_by(self) -> str:
        """`mdata[m].uns`: which model placed the cells."""
        return f"{self.prefix}_placed_by"

    @property
    def model(self) -> str:
        """`mdata.uns`: parameters and history of the training."""
        return self.prefix

    @property
    def models(self) -> str:
        """`mdata.uns`: fingerprint of the model that training, scores and verdicts are of, by slot."""
        return f"{self.prefix}_models"

    @property
    def imputed(self) -> str:
        """`mdata[m].layers`, and `.obs` of a completed MuData: imputed values, or which cells have them."""
        return f"{self.prefix}_imputed"

    def imputed_from_source(self, target: str) -> str:
        """`mdata[source].obsm`: features of `target` imputed for every cell of the source; `.uns`: what they are."""
        return f"{self.prefix}_imputed_{_not_beside(_free(target))}"

    def imputation_confidence(self, target: str, *sources: str) -> str:
        """`mdata[source].obs`: how sure it is what is imputed of `target` for each cell; of several, `mdata.obs`."""
        return f"{self.prefix}_imputation_confidence_{_of_several(target, sources)}"

    def novelty(self, target: str, *sources: str) -> str:
        """`mdata[source].obs`: how unlike the training cells each cell is, in what tells `target`; or `mdata.obs`."""
        return f"{self.prefix}_novelty_{_of_several(target, sources)}"

    @property
    def completed_confidence(self) -> str:
        """`.obs` of a modality of a completed MuData: how sure each imputed row is."""
        return f"{self.prefix}_imputation_confidence"

    @property
    def completed_novelty(self) -> str:
        """`.obs` of a modality of a completed MuData: how new the cell of each imputed row is."""
        return f"{self.prefix}_novelty"

    def imputed_from_sources(self, target: str, *sources: str) -> str:
        """`mdata.obsm` and `.uns`: features of `target` imputed from several sources, for every cell that has any."""
        return f"{self.prefix}_imputed_{_of_several(target, sources)}"

    @property
    def reconstructed(self) -> str:
        """`mdata[m].layers`: denoised own modality."""
        return f"{self.prefix}_reconstructed"

    @property
    def evaluation(self) -> str:
        """`mdata.uns`: table of held-out measures."""
        return f"{self.prefix}_evaluation"

    @property
    def diagnosis(self) -> str:
        """`mdata.uns`: table of checks, with a verdict each."""
        return f"{self.prefix}_diagnosis"

    def score(self, measure: str) -> str:
        """`mdata[target].var`: one measure per feature, such as ``"correlation"``."""
        return f"{self.prefix}_{measure}"

    def scores_from(self, *sources: str) -> str:
        """`mdata[target].varm`: measures of each feature imputed from the source, or several, by every method."""
        return f"{self.prefix}_scores_{_added(sources)}"

    def js_distance_from(self, *sources: str) -> str:
        """`mdata[target].varm`: JS distances of features imputed from one source or several, by method and label."""
        return f"{self.prefix}_js_distance_{_added(sources)}"

    def shap(self, explained: str) -> str:
        """`mdata[source].varm`, `.uns`: SHAP values for what is explained."""
        return f"{self.prefix}_shap_{_free(explained)}"

    def shap_by_cell(self, explained: str, feature: str) -> str:
        """`mdata[source].layers`: SHAP values by cell, for one feature of what is explained."""
        return f"{self.prefix}_shap_{_both(explained, feature)}"

    def knockout(self, measure: str, target: str) -> str:
        """`mdata[source].var`, `.varm`, `.uns`: a measure without each feature."""
        return f"{self.prefix}_knockout_{measure}_{_free(target)}"

    def knockout_groups(self, measure: str, target: str) -> str:
        """`mdata[source].uns`: a measure without each group of features."""
        return f"{self.prefix}_knockout_groups_{measure}_{_free(target)}"

    @property
    def links(self) -> str:
        """`mdata.uns`: table of regions and genes."""
        return f"{self.prefix}_links"

    @property
    def knockout_by_distance(self) -> str:
        """`mdata.uns`: how well genes are imputed without the regions near and far."""
        return f"{self.prefix}_knockout_by_distance"


def _free(name: str) -> str:
    """Name of a modality, label column or feature, if a file can hold it."""
    if not is_file_name(name):
        shown = str(name).replace("/", "_").replace("\0", "").strip(" .") or "name"
        msg = f"expected a name that a file can hold, found {name!r}, of which slots are named; rename it {shown!r}"
        raise InvalidValueError(msg)
    return name


def _added(sources: tuple[str, ...]) -> str:
    """One source by its name, several with a plus between them; one that holds a plus is in brackets."""
    return of_sources([_in_brackets(name) if "+" in name or name[:1] == "(" else name for name in map(_free, sources)])


def _of_several(target: str, sources: tuple[str, ...]) -> str:
    """A target alone, or with the sources that it is imputed from together."""
    if not sources:
        return _free(target)
    names = [_bracketed(_free(name)) if name not in _ENDS else _in_brackets(name) for name in sources]
    return "_".join([_bracketed(_free(target)), *names])


def of_sources(sources: Sequence[str] | str) -> str:
    """Sources in a table or a title: ``"rna"``, ``"rna + ephys"``."""
    return sources if isinstance(sources, str) else " + ".join(sources)


def beside(imputed: str, what: str) -> str:
    """Slot beside one of imputed values: ``"lower"`` or ``"upper"`` bounds, or ``"sample_0"`` and so on."""
    return f"{imputed}_{what}"


def is_beside(key: str, imputed: str) -> bool:
    """Whether a slot holds bounds or samples beside this slot of imputed values."""
    return key.startswith(imputed) and _BESIDE.fullmatch(key[len(imputed) :]) is not None


def _not_beside(name: str) -> str:
    """Name, in brackets if the slot of its imputed values could be one beside those of another modality."""
    return _in_brackets(name) if name.startswith("(") or re.search(f"{_BESIDE.pattern}\\Z", name) else name


def _both(a: str, b: str) -> str:
    """Two free names, which can be told apart again."""
    return f"{_bracketed(_free(a))}_{_bracketed(_free(b))}"


def _bracketed(name: str) -> str:
    """Name in brackets if it holds what could be taken for the end of it; brackets within it are doubled."""
    return _in_brackets(name) if set(name) & set("_()") else name


def _in_brackets(name: str) -> str:
    return f"({name.replace('(', '((').replace(')', '))')})"
