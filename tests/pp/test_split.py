"""Held-out cells: which, how many, and that nothing but the seed decides."""

from __future__ import annotations

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
