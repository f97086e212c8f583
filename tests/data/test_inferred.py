"""What is inferred for a training where nothing was written: when, from which cells, and that it is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie import data
from jamie.correspondence import PairCheck
from jamie.data import open_cells


def read(mdata, **options):
    return data.read(open_cells(mdata), **options)


@pytest.fixture
def few():
    """120 cells, two fifths of them in both modalities."""
    return jm.datasets.toy(n_cells=120, share_paired=0.4)


def pairs_of(mdata, n, *, confidence=1.0):
    both = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)[:n]
    jm.pp.correspondence(mdata, pairs=pd.DataFrame({"rna": both, "protein": both, "confidence": confidence}))


def test_partners_are_inferred_where_pairs_are_few_and_it_is_said(few, capsys):
    problem = read(few, infer_below=0.75)
    f, known = problem.inferred["rna", "protein"].toarray(), problem.known["rna", "protein"].toarray()
    assert_allclose(f.sum(1), 1, rtol=1e-5)
    paired = known.any(1)
    assert paired.sum() == 48
    assert_array_equal(f[paired], known[paired])
    assert not few.obsp
    assert "48 known pairs of 'rna' and 'protein' are few" in (said := capsys.readouterr().err)
    assert "not written; call jm.pp.infer_correspondence(mdata)" in said
    types = [few[name].obs["cell_type"].to_numpy() for name in ("rna", "protein")]
    right = np.equal.outer(*types)
    assert (f * right)[~paired].sum() / (~paired).sum() > 0.8


@pytest.mark.parametrize(
    ("n", "infer_below", "inferred"),
    [(48, 0.75, True), (48, 0.5, False), (48, 0.0, False), (10, 0.75, True), (9, 0.75, False), (20, 0.23, False)],
)
def test_few_is_a_share_of_the_cells_and_enough_for_anchors(few, capsys, n, infer_below, inferred):
    pairs_of(few, n)
    capsys.readouterr()
    assert list(read(few, infer_below=infer_below).inferred) == [("rna", "protein")] * inferred
    assert ("are few" in capsys.readouterr().err) == inferred


def test_too_few_pairs_to_infer_from_are_warned_of(few, capsys):
    both = few["rna"].obs_names.intersection(few["protein"].obs_names)
    few.obs["known"] = few.obs_names.isin(both[:9])
    jm.pp.correspondence(few, known="known")
    capsys.readouterr()
    assert not read(few, infer_below=0.75).inferred
    assert "only 9 known pairs of 'rna' and 'protein'" in capsys.readouterr().err
    assert not read(few).inferred
    assert "known pairs" not in capsys.readouterr().err  # the paper's recipe infers nothing


def wrong(mdata, n):
    """Names that `n` cells share by chance: each with that of another cell; the others share none."""
    rna, protein = mdata["rna"].copy(), mdata["protein"].copy()
    protein.obs_names = [f"other {i}" if i >= n else rna.obs_names[-1 - i] for i in range(protein.n_obs)]
    return MuData({"rna": rna, "protein": protein})


@pytest.mark.parametrize("infer_below", [0.0, 0.75])
@pytest.mark.parametrize("recorded", [False, True])
def test_few_pairs_are_checked_and_it_is_said(few, capsys, infer_below, recorded):
    mdata = wrong(few, 20)
    if recorded:
        jm.pp.correspondence(mdata)
        pairs_of(few, 20)
    capsys.readouterr()
    problem = read(mdata, infer_below=infer_below)
    assert problem.known["rna", "protein"].nnz == 20  # they are used: the user may know better
    source = "that jm.pp.correspondence recorded" if recorded else "that share a name"
    said = capsys.readouterr().err
    assert f"20 pairs of 'rna' and 'protein' {source} are unverified: of 20 left out in turn" in said
    read(few, infer_below=infer_below)
    right = capsys.readouterr().err
    assert "unverified" not in right
    checked = recorded or infer_below  # 48 of 84 cells are more than half
    assert (f"'protein' {source} are verified: of {20 if recorded else 48} left out in turn" in right) == bool(checked)


def test_pairs_no_better_than_chance_are_no_anchors(few, capsys, monkeypatch):
    mdata = wrong(few, 20)
    for objective, inferred in ((0.5, False), (0.42, True)):
        check = PairCheck(objective, 0.5, 0.07, 0.3, 20, 20)
        monkeypatch.setattr("jamie.data._inferred.check_pairs", lambda *_, check=check: check)
        assert bool(read(mdata, infer_below=0.75).inferred) is inferred
        assert ("no partners of the other cells" in capsys.readouterr().err) is not inferred


def test_many_pairs_and_few_of_them_to_check_are_left_alone(few, capsys, monkeypatch):
    monkeypatch.setattr("jamie.data._inferred.check_pairs", None)
    read(jm.datasets.toy(n_cells=60, share_paired=0.9))
    pairs_of(few, 9)
    read(few)
    assert "verified" not in capsys.readouterr().err


def test_the_check_rests_on_training_cells(few, monkeypatch):
    taken = []
    check = PairCheck(0.1, 0.5, 0.05, 0.005, 30, 30)
    monkeypatch.setattr("jamie.data._inferred.check_pairs", lambda *given: taken.append(given) or check)
    jm.pp.split(few)
    problem = read(few, infer_below=0.75)
    train = {name: view.train for name, view in problem.modalities.items()}
    x, y, known, _ = taken[0]
    assert_array_equal(x, problem.modalities["rna"].inputs[train["rna"]])
    assert_array_equal(y, problem.modalities["protein"].inputs[train["protein"]])
    expected = problem.known["rna", "protein"].toarray()[train["rna"]][:, train["protein"]]
    assert_array_equal(known.toarray(), expected)


def test_names_that_differ_in_writing_are_said(few, capsys):
    rna, protein = few["rna"].copy(), few["protein"].copy()
    protein.obs_names = [name if i < 12 else f"s1_{name}" for i, name in enumerate(protein.obs_names)]
    read(MuData({"rna": rna, "protein": protein}))
    assert "mdata['protein'].obs_names.str.removeprefix('s1_'); mdata = mudata.MuData" in capsys.readouterr().err
    protein.obs_names = [name if name.startswith("s1_") else f"s1_{name}" for name in protein.obs_names]
    line = r"found none: no cell name is shared; written alike, .*obs_names\.str\.removeprefix\('s1_'\)"
    with pytest.raises(ValueError, match=line):
        read(mdata := MuData({"rna": rna, "protein": protein}))
    with pytest.raises(ValueError, match=line):
        jm.pp.correspondence(mdata)


def test_pairs_are_few_if_they_are_few_for_either_modality(few):
    rna, protein = few["rna"], few["protein"]
    alone = ~rna.obs_names.isin(protein.obs_names)
    alone[np.flatnonzero(alone)[6:]] = False
    rna = rna[rna.obs_names.isin(protein.obs_names) | alone]  # 48 of 54 have a partner, of protein 48 of 84
    few = MuData({"rna": rna.copy(), "protein": protein.copy()})
    assert (few["rna"].n_obs, few["protein"].n_obs) == (54, 84)
    assert list(read(few, infer_below=0.75).inferred) == [("protein", "rna")]
    assert not read(few, infer_below=0.5).inferred


def test_the_modality_with_more_cells_to_match_asks(few):
    rna, protein = few["rna"], few["protein"]
    few = MuData({"rna": rna[rna.obs_names.isin(protein.obs_names)].copy(), "protein": protein.copy()})
    (found,) = read(few, infer_below=0.75).inferred
    assert found == ("protein", "rna")


def test_nothing_is_inferred_unless_it_is_asked_for(few):
    assert not read(few).inferred


@pytest.mark.parametrize("order", [("rna", "protein"), ("protein", "rna")])
def test_what_was_written_is_taken_whatever_the_pairs(few, capsys, order):
    jm.pp.infer_correspondence(few, modalities=order, n_keep=4)
    capsys.readouterr()
    written = few.obsp["jamie_inferred_{}_{}".format(*order)].toarray()
    at = {name: few.obs_names.get_indexer(few[name].obs_names) for name in order}
    expected = written[at[order[0]]][:, at[order[1]]]
    (pair,), (found,) = zip(*read(few).inferred.items(), strict=True)
    assert pair == order  # who asks is who was asked for
    assert isinstance(found, sparse.csr_matrix)
    assert_array_equal(found.toarray(), expected)
    assert_array_equal(read(few, infer_below=0.75).inferred[order].toarray(), found.toarray())
    assert "are few" not in capsys.readouterr().err


def test_written_partners_stand_in_for_known_ones(make_mdata, rng):
    z = rng.normal(size=(30, 5)).astype(np.float32)
    mdata = make_mdata(cells={"y": [f"d{i}" for i in range(30)]}, x=z, y=z[:, :3])
    mdata.obsp["jamie_inferred_y_x"] = sparse.eye_array(60, 60, k=-30, format="csr")  # y after x
    problem = read(mdata)
    assert problem.known["x", "y"].nnz == 0
    assert_array_equal(problem.inferred["y", "x"].toarray(), np.eye(30))


def test_held_out_cells_take_no_part(few):
    jm.pp.split(few)
    held_out = {name: few[name].obs_names.isin(few.obs_names[few.obs["jamie_split"] == "test"]) for name in few.mod}
    found = []
    for changed in (False, True):
        mdata = few.copy()
        if changed:
            mdata["protein"].X[held_out["protein"]] = 7
        problem = read(mdata, infer_below=0.75)
        found.append(problem.inferred["rna", "protein"].toarray())
        assert not found[-1][held_out["rna"]].any()
        assert not found[-1][:, held_out["protein"]].any()
        assert_allclose(found[-1][~held_out["rna"]].sum(1), 1, rtol=1e-5)
        known = problem.known["rna", "protein"].toarray() * ~held_out["rna"][:, None]
        assert_array_equal(found[-1][known.any(1)], known[known.any(1)])
    assert_array_equal(*found)


def test_the_seed_decides(few):
    first, again, other = (read(few, infer_below=0.75, seed=seed).inferred["rna", "protein"] for seed in (0, 0, 1))
    assert abs(first - again).max() == 0
    assert first.shape == other.shape


def test_each_two_of_three_modalities_are_inferred_by_themselves(few):
    other = few["protein"].copy()
    other.var_names = "other " + other.var_names
    three = MuData({"rna": few["rna"].copy(), "protein": few["protein"].copy(), "other": other})
    assert list(read(three, infer_below=0.75).inferred) == [("rna", "protein"), ("rna", "other")]


@pytest.mark.parametrize("is_right", [True, False])
def test_names_that_are_row_numbers_are_checked_though_all_share_them(capsys, is_right):
    mdata = jm.datasets.toy(n_cells=80, share_paired=1.0)
    rna, protein = mdata["rna"].copy(), mdata["protein"][mdata["rna"].obs_names].copy()
    if not is_right:
        protein = protein[np.random.default_rng(0).permutation(80)].copy()
    for side in (rna, protein):
        side.obs_names = [str(i) for i in range(80)]
    capsys.readouterr()
    read(MuData({"rna": rna, "protein": protein}))
    said = capsys.readouterr().err
    assert ("that share a name are verified" in said) is is_right
    assert ("that share a name are unverified" in said) is not is_right


def test_the_check_draws_from_the_seed_that_was_given(few, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "jamie.data._inferred.check_pairs",
        lambda *given: drawn.append(given[-1].random()) or PairCheck(0.5, 0.5, 0.07, 0.3, 20, 20),
    )
    pairs_of(few, 20)
    for seed in (0, 7):
        read(few, infer_below=0.75, seed=seed)
    assert drawn == [np.random.default_rng(seed).random() for seed in (0, 7)]


@pytest.mark.parametrize("first", ["written", "many", "too few", "refuted"])
def test_what_is_said_of_two_modalities_leaves_the_next_two_to_be_inferred(few, first, monkeypatch, capsys):
    """Of rna and protein nothing is inferred here, whatever the reason; of rna and other it is."""
    rna, protein = few["rna"].copy(), few["protein"].copy()
    other = protein.copy()
    other.var_names = "other " + other.var_names
    other.obs_names = [name if name in rna.obs_names else f"o{name}" for name in other.obs_names]
    if first == "many":  # all that are in the other as well
        both = rna.obs_names.intersection(protein.obs_names)
        rna, protein = rna[both].copy(), protein[both].copy()
    three = MuData({"rna": rna, "protein": protein, "other": other})
    if first == "written":
        jm.pp.infer_correspondence(three, modalities=["rna", "protein"], n_keep=4)
    if first == "too few":
        table = pd.DataFrame(dict.fromkeys(["rna", "protein"], rna.obs_names.intersection(protein.obs_names)[:9]))
        jm.pp.correspondence(three, modalities=["rna", "protein"], pairs=table)
    checks = iter([PairCheck(0.5, 0.5, 0.07, 0.3, 20, 20)] * (first == "refuted"))
    good = PairCheck(0.1, 0.5, 0.05, 0.005, 30, 30)
    monkeypatch.setattr("jamie.data._inferred.check_pairs", lambda *_: next(checks, good))
    expected = [("rna", "protein")] * (first == "written")
    found = list(read(three, infer_below=0.75).inferred)
    assert found[: len(expected)] == expected
    assert {frozenset(pair) for pair in found[len(expected) :]} >= {frozenset(("rna", "other"))}
    assert frozenset(("rna", "protein")) not in {frozenset(pair) for pair in found[len(expected) :]}
