"""Held-out cells: which, how many, and that nothing but the seed decides."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

import jamie as jm


def drawn_cells(mdata):
    return mdata.obs_names[mdata.obs["jamie_split"] == "test"]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_the_share_is_of_the_cells_with_a_counterpart(toy, fraction):
    jm.pp.split(toy, test_fraction=fraction)
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    held_out = drawn_cells(toy)
    assert len(held_out) == int(fraction * len(both))
    assert held_out.isin(both).all()
    assert set(toy.obs["jamie_split"].cat.categories) == {"train", "test"}
    assert toy.obs["jamie_split"].notna().all()


def test_every_cell_with_a_counterpart_can_be_drawn(toy):
    drawn = set()
    for seed in range(30):
        jm.pp.split(toy, rng=seed)
        drawn |= set(drawn_cells(toy))
    assert drawn == set(toy["rna"].obs_names.intersection(toy["protein"].obs_names))


def test_partners_by_correspondence_are_held_out_together(toy):
    only_rna = toy["rna"].obs_names.difference(toy["protein"].obs_names)
    only_protein = toy["protein"].obs_names.difference(toy["rna"].obs_names)
    table = pd.DataFrame({"rna": only_rna, "protein": only_protein})
    jm.pp.correspondence(toy, pairs=table)
    together = set()
    for seed in range(30):
        jm.pp.split(toy, rng=seed)
        label = toy.obs["jamie_split"].astype(str)
        assert_array_equal(label[only_rna], label[only_protein])
        together |= set(only_rna[label[only_rna] == "test"])
    assert together


def test_stratified_shares_are_equal(toy):
    jm.pp.split(toy, test_fraction=0.25, stratify="cell_type")
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    obs = toy.obs.loc[both]
    share = (obs["jamie_split"] == "test").groupby(obs["cell_type"], observed=True).mean()
    assert (abs(share - 0.25) <= 1 / 12).all()


def test_the_seed_decides_and_a_generator_is_advanced(toy):
    rng = np.random.default_rng(5)
    found = []
    for seed in (5, 5, 6, rng, rng):
        jm.pp.split(toy, rng=seed)
        found.append(tuple(drawn_cells(toy)))
    assert found[0] == found[1] == found[3]
    assert len({found[0], found[2], found[4]}) == 3


@pytest.mark.parametrize("stratify", [None, "cell_type"])
def test_global_random_state_is_left_alone(toy, stratify):
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    jm.pp.split(toy, stratify=stratify)
    assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_a_copy_leaves_the_original_and_the_prefix_names_the_slot(toy):
    copied = jm.pp.split(toy, key_added="mine", copy=True)
    assert "mine_split" in copied.obs
    assert not any("split" in column for column in toy.obs)
    assert jm.pp.split(toy) is None


@pytest.mark.parametrize("fraction", [0, 1, 20, float("nan")])
def test_what_is_no_share_is_refused(toy, fraction):
    with pytest.raises(ValueError, match="0 < `test_fraction` < 1, found"):
        jm.pp.split(toy, test_fraction=fraction)


def test_no_counterparts_says_what_to_call():
    with pytest.raises(ValueError, match=r"measured in two modalities, found none; call jm\.pp\.correspondence"):
        jm.pp.split(jm.datasets.toy(share_paired=0))


def test_unknown_stratum_names_the_close_ones(toy):
    with pytest.raises(KeyError, match="did you mean 'cell_type'"):
        jm.pp.split(toy, stratify="celltype")


def test_a_stratum_of_one_is_named(toy):
    toy.obs["group"] = "many"
    toy.obs.loc[toy["rna"].obs_names.intersection(toy["protein"].obs_names)[0], "group"] = "lonely"
    with pytest.raises(ValueError, match="two cells of each stratum, found one of 'lonely'"):
        jm.pp.split(toy, stratify="group")


def test_too_few_held_out_for_the_strata_is_said_in_our_words(toy):
    with pytest.raises(ValueError, match=r"expected .*test_fraction.*found"):
        jm.pp.split(toy, test_fraction=0.02, stratify="cell_type")


def mice(mdata, n, seed=0):
    """Mice of unlike size, one for each cell of the MuData."""
    rng = np.random.default_rng(seed)
    mdata.obs["mouse"] = [
        f"m{i}" for i in rng.choice(n, mdata.n_obs, p=np.arange(1, n + 1) / np.arange(1, n + 1).sum())
    ]
    return mdata


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_whole_groups_are_held_out(toy, fraction):
    mdata = mice(toy, 12)
    jm.pp.split(mdata, group="mouse", test_fraction=fraction)
    by_mouse = mdata.obs.groupby("mouse", observed=True)["jamie_split"].nunique()
    assert (by_mouse == 1).all()
    both = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    assert (mdata.obs.loc[both, "jamie_split"] == "test").mean() == pytest.approx(fraction, abs=0.06)


def test_groups_may_be_in_a_modality_and_cells_without_one_are_not_held_out(toy):
    rna = toy["rna"]
    rna.obs["batch"] = pd.Categorical(np.where(np.arange(rna.n_obs) % 3 == 0, None, np.arange(rna.n_obs) % 5))
    jm.pp.split(toy, group="batch")
    held_out = toy.obs_names[toy.obs["jamie_split"] == "test"]
    assert len(held_out)
    assert rna.obs["batch"].reindex(held_out).notna().all()
    assert rna.obs["batch"].reindex(held_out).nunique() == 1


def test_strata_of_groups_come_near_to_the_share(toy):
    mdata = mice(toy, 20)
    jm.pp.split(mdata, group="mouse", stratify="cell_type", test_fraction=0.3)
    both = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    obs = mdata.obs.loc[both]
    share = (obs["jamie_split"] == "test").groupby(obs["cell_type"], observed=True).mean()
    assert share.to_numpy() == pytest.approx(0.3, abs=0.15)


def test_groups_that_pairs_connect_go_together(toy):
    mdata = mice(toy, 8)
    a, b = mdata["rna"].obs_names, mdata["protein"].obs_names
    pairs = pd.DataFrame({"rna": a[:2], "protein": b[[-1, -2]]})
    jm.pp.correspondence(mdata, pairs=pairs)
    jm.pp.split(mdata, group="mouse", test_fraction=0.3)
    split = mdata.obs["jamie_split"].astype(str)
    assert (split[pairs["rna"]].to_numpy() == split[pairs["protein"]].to_numpy()).all()
    assert (mdata.obs.groupby("mouse", observed=True)["jamie_split"].nunique() == 1).all()


def test_the_share_that_groups_come_to_is_said(toy, capsys):
    jm.pp.split(mice(toy, 12), group="mouse")
    assert re.search(r"held out \d+ of 12 values of 'mouse', \d+ % of the cells", capsys.readouterr().err)


def test_one_group_or_none_is_refused(toy):
    toy.obs["mouse"] = "m1"
    with pytest.raises(ValueError, match=r"at least two groups in 'mouse' .* found 1; name a column of smaller"):
        jm.pp.split(toy, group="mouse")
    assert "jamie_split" not in toy.obs
    with pytest.raises(KeyError, match="mouze"):
        jm.pp.split(toy, group="mouze")


def test_the_seed_decides_the_groups(toy):
    held = []
    for seed in (0, 0, 1, 2, 3):
        jm.pp.split(mice(toy, 12), group="mouse", rng=seed)
        held.append(frozenset(toy.obs["mouse"][toy.obs["jamie_split"] == "test"]))
    assert held[0] == held[1]
    assert len(set(held)) > 1


def test_a_group_may_be_called_nan_and_errors_name_the_argument(toy):
    toy.obs["mouse"] = ["nan" if i % 2 else "m1" for i in range(toy.n_obs)]
    held_out = set()
    for seed in range(8):
        jm.pp.split(toy, group="mouse", test_fraction=0.5, rng=seed)
        held_out |= set(toy.obs["mouse"][toy.obs["jamie_split"] == "test"])
    assert held_out == {"nan", "m1"}
    with pytest.raises(KeyError, match="expected `group` to name a column"):
        jm.pp.split(toy, group="donor")
    with pytest.raises(KeyError, match="expected `stratify` to name a column"):
        jm.pp.split(toy, stratify="donor")
