"""What each cell is to a model."""

from __future__ import annotations

import jamie as jm


def test_inputs_count_cells_by_what_they_are(trained):
    mdata, model = trained
    table = jm.get.inputs(mdata, model)
    assert table.index.tolist() == ["rna", "protein"]
    assert (table[["train", "validation", "held-out", "new"]].sum(axis=1) == table["cells"]).all()
    n_held_out = int((mdata.obs["jamie_split"] == "test")[mdata["rna"].obs_names].sum())
    assert table.loc["rna", "held-out"] == n_held_out
    assert table.loc["protein", ["kind", "layer", "features"]].tolist() == ["protein", "X", 12]
