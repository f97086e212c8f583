"""Where each result is written: every slot name of the package, in one place."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = 1
"""Of what is written to `.uns`; a slot of another one is refused by its readers."""


@dataclass(frozen=True)
class Keys:
    """Slot names derived from one prefix (`key_added`, ``"jamie"`` by default)."""

    prefix: str = "jamie"

    @property
    def split(self) -> str:
        """`mdata.obs`: ``"train"`` or ``"test"``."""
        return f"{self.prefix}_split"

    def known(self, a: str, b: str) -> str:
        """`mdata.obsp`: known pairs F of modalities `a` and `b`."""
        return f"{self.prefix}_known_{a}_{b}"

    def inferred(self, a: str, b: str) -> str:
        """`mdata.obsp`: inferred correspondence F̃ of `a` and `b`; `mdata.uns`: how it was found."""
        return f"{self.prefix}_inferred_{a}_{b}"

    def match(self, a: str, b: str) -> str:
        """`mdata.obsp`: likeliest partners in `b` of the cells of `a`, by the latent."""
        return f"{self.prefix}_match_{a}_{b}"

    @property
    def correspondence(self) -> str:
        """`mdata.uns`: table of how well a correspondence agrees with what is known."""
        return f"{self.prefix}_correspondence"

    def transferred(self, labels: str) -> str:
        """`mdata[target].obs`: labels carried over from another modality; with ``_confidence`` their share of votes."""
        return f"{self.prefix}_{labels}"

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
    def model(self) -> str:
        """`mdata.uns`: parameters and history of the training."""
        return self.prefix

    @property
    def imputed(self) -> str:
        """`mdata[m].layers`, and `.obs` of a completed MuData: imputed values, or which cells have them."""
        return f"{self.prefix}_imputed"

    def imputed_from_source(self, target: str) -> str:
        """`mdata[source].obsm`: features of `target` imputed for every cell of the source."""
        return f"{self.prefix}_{target}"

    @property
    def reconstructed(self) -> str:
        """`mdata[m].layers`: denoised own modality."""
        return f"{self.prefix}_reconstructed"

    @property
    def evaluation(self) -> str:
        """`mdata.uns`: table of held-out measures."""
        return f"{self.prefix}_evaluation"

    def score(self, measure: str) -> str:
        """`mdata[target].var`: one measure per feature, such as ``"correlation"``."""
        return f"{self.prefix}_{measure}"

    def scores_from(self, source: str) -> str:
        """`mdata[target].varm`: measures of each feature imputed from the source, by every method."""
        return f"{self.prefix}_scores_{source}"

    def js_distance_from(self, source: str) -> str:
        """`mdata[target].varm`: JS distances of each feature imputed from the source, by method and label."""
        return f"{self.prefix}_js_distance_{source}"

    def shap(self, explained: str) -> str:
        """`mdata[source].varm`, `.uns`, and with ``_<feature>`` `.layers`: SHAP values for what is explained."""
        return f"{self.prefix}_shap_{explained}"

    def knockout(self, measure: str, target: str) -> str:
        """`mdata[source].var`, `.varm`, `.uns`, there also with ``_groups``: a measure without each feature."""
        return f"{self.prefix}_knockout_{measure}_{target}"

    @property
    def links(self) -> str:
        """`mdata.uns`: table of regions and genes."""
        return f"{self.prefix}_links"

    @property
    def knockout_by_distance(self) -> str:
        """`mdata.uns`: how well genes are imputed without the regions near and far."""
        return f"{self.prefix}_knockout_by_distance"
