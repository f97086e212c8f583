"""One problem, four ways to solve it: which is taken, what is reported, and what holds of every result."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.spatial.distance import cdist

import jamie as jm
from jamie.correspondence import METHODS, MatchingProblem, PairCheck, _infer, choose, enough, infer
from jamie.correspondence._unioncom import Solution as Dense

N_X, N_Y = 90, 75
METHODS = [method for method in METHODS if method != "auto"]
COMMON = {"method", "n_pairs", "n_keep", "capped", "largest_column_sum", "verified"}
OWN = {
    "anchors": {"objective", "chance", "standard_error", "p_value", "n_checked"},
    "linked": {"n_pseudo_pairs"},
    "gw": {"objective", "gap", "agreement", "n_starts", "n_optima", "chosen_by"},
    "unioncom": {"objective", "n_starts"},
}


@pytest.fixture(scope="module")
def cells():
    """Two views of the branching simulation; cell i of y is cell order[i] of x, and 15 of x are not in y."""
    mdata = jm.datasets.branching_manifold(n_cells=N_X, n_features=(30, 40))
    order = np.random.default_rng(0).permutation(N_X)[:N_Y]
    return np.asarray(mdata["x"].X), np.asarray(mdata["y"].X)[order], order, np.asarray(mdata.obsm["true_latent"])


@pytest.fixture
def ask(cells):
    def problem(n_known=0, *, linked=False, confidence=1.0, **more):
        x, y, order, latent = cells
        f = sparse.csr_matrix(
            (np.full(n_known, confidence, np.float32), (order[:n_known], np.arange(n_known))), shape=(N_X, N_Y)
        )
        features = np.hstack([latent, np.cos(latent), latent**2])
        given = (features, features[order]) if linked else None
        return MatchingProblem(x, y, f, given, **{"n_keep": 6, "cap": None, "n_starts": 3, **more})

    return problem


def result(problem, method, seed=0):
    return infer(problem, method, np.random.default_rng(seed))


def distance_of_partners(cells, f):
    """Mean distance in the plane that both views were made from, as a share of that of cells at random."""
    _, _, order, latent = cells
    d = cdist(latent, latent[order])
    return f.multiply(d).sum() / f.sum() / d.mean()


@pytest.mark.parametrize(
    ("n_known", "linked", "method", "why"),
    [
        (10, False, "anchors", "^10 pairs are known$"),
        (40, True, "anchors", "^40 pairs are known$"),
        (9, True, "linked", "^9 pairs are known, fewer than 10, but 6 features$"),
        (0, True, "linked", "^0 pairs"),
        (9, False, "gw", "^9 pairs are known, fewer than 10, and no linked features$"),
        (0, False, "gw", "^0 pairs"),
    ],
)
def test_the_first_method_that_has_what_it_needs(ask, n_known, linked, method, why):
    chosen, reason = choose(ask(n_known, linked=linked))
    assert chosen == method
    assert re.search(why, reason)


@pytest.mark.parametrize(
    ("method", "n_known"), [("anchors", 12), *((method, n) for method in METHODS[1:] for n in (0, 5, 12))]
)
def test_what_holds_of_every_answer(cells, ask, method, n_known):
    problem = ask(n_known, linked=method == "linked")
    found = result(problem, method)
    f, report = found.matrix, found.report.to_dict()
    assert isinstance(f, sparse.csr_matrix)
    assert (f.shape, f.dtype) == ((N_X, N_Y), np.float32)
    assert_allclose(f.sum(1), 1, rtol=1e-5)
    assert f.data.min() >= 0
    assert np.diff(f.indptr).max() <= 6
    known = cells[2][:n_known]
    assert_array_equal(f[known].toarray(), problem.known[known].toarray())
    assert set(report) == COMMON | OWN[method]
    assert (report["method"], report["n_pairs"], report["n_keep"]) == (method, n_known, 6)
    assert report["verified"] is found.report.verified
    assert found.report.verified is (method == "anchors" and found.report.evidence.check.verified)
    assert report["capped"] is (method in ("gw", "unioncom"))
    assert_allclose(report["largest_column_sum"], f.sum(0).max())
    assert all(isinstance(value, bool | int | float | str) for value in report.values())


@pytest.mark.parametrize(("method", "n_known", "most"), [("anchors", 15, 0.35), ("linked", 0, 0.35), ("gw", 0, 0.35)])
def test_partners_lie_close_in_the_plane_behind_the_views(cells, ask, method, n_known, most):
    found = result(ask(n_known, linked=method == "linked", n_starts=12), method)
    unknown = np.setdiff1d(np.arange(N_X), cells[2][:n_known])
    f = found.matrix.tolil()
    f[np.setdiff1d(np.arange(N_X), unknown)] = 0
    assert distance_of_partners(cells, f.tocsr()) < most


@pytest.mark.parametrize("n_keep", [1, 3, 1_000])
@pytest.mark.parametrize("method", METHODS)
def test_as_many_are_kept_as_were_asked_for(ask, method, n_keep):
    problem = ask(12 if method == "anchors" else 0, linked=method == "linked", n_keep=n_keep, n_starts=1, cap=False)
    f = result(problem, method).matrix
    kept = np.diff(f.indptr)
    assert kept.max() == min(n_keep, N_Y)
    assert_allclose(f.sum(1), 1, rtol=1e-5)


def test_of_a_dense_plan_the_largest_are_kept(monkeypatch, ask):
    plan = np.random.default_rng(0).random((N_X, N_Y))
    monkeypatch.setattr(_infer, "unioncom", lambda *_, **__: Dense(plan, 1.0, 0.5, np.zeros(1), True))
    f = result(ask(n_keep=4, cap=False), "unioncom").matrix.toarray()
    expected = np.where(plan >= np.sort(plan, axis=1)[:, [-4]], plan, 0)
    assert_allclose(f, expected / expected.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("method", ["anchors", "gw"])
def test_the_cap_is_taken_and_left_when_told(ask, method):
    free, capped, default = (result(ask(12, n_keep=20, cap=cap), method) for cap in (False, True, None))
    assert (free.report.capped, capped.report.capped) == (False, True)
    assert default.report.capped is (method == "gw")
    chosen = capped if method == "gw" else free
    assert_array_equal(default.matrix.toarray(), chosen.matrix.toarray())
    inferred = [np.setdiff1d(np.arange(N_X), ask(12).known.nonzero()[0])] * 2
    sums = [result.matrix[rows].sum(0).max() for result, rows in zip((free, capped), inferred, strict=True)]
    assert sums[1] < sums[0]
    assert sums[1] <= N_X / N_Y * 1.05


@pytest.mark.parametrize(("n", "kept"), [(3, 5), (54, 5), (300, 30), (500, 50), (10**6, 50)])
def test_a_tenth_of_few_cells_is_kept_and_fifty_of_many(n, kept):
    assert enough(n) == kept


def test_few_pairs_choose_among_mirror_images():
    """A bent line fits on itself both ways; one pair at its end tells which."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 50)
    x = np.stack([t, t**2, 0 * t], axis=1) + 0.003 * rng.normal(size=(50, 3))
    y = x[:, ::-1].copy()
    for partner in (49, 0):  # cell 49 of x is the last of y; or its first, mirrored
        f = sparse.csr_matrix((np.ones(2, np.float32), ([49, 46], [partner, abs(partner - 3)])), shape=(50, 50))
        problem = MatchingProblem(x, y, f, None, n_keep=3, cap=None, n_starts=12)
        found = result(problem, "gw")
        assert found.report.evidence.chosen_by == "pairs"
        assert found.report.evidence.n_optima > 1
        place = found.matrix @ np.arange(50)
        assert np.corrcoef(place, np.arange(50))[0, 1] * (1 if partner else -1) > 0.9
    assert result(dataclasses.replace(problem, known=f * 0), "gw").report.evidence.n_optima > 1


def test_without_pairs_the_objective_chooses(ask):
    evidence = result(ask(), "gw").report.evidence
    assert evidence.chosen_by == "objective"
    assert evidence.n_starts == 3
    assert 0 < evidence.agreement <= 1
    assert result(ask(n_starts=12), "gw").report.evidence.objective <= evidence.objective * 1.001


def test_known_pairs_are_checked_and_decide_whether_anchors_are_verified(cells, ask):
    right = result(ask(40), "anchors").report
    assert right.verified
    assert right.to_dict()["objective"] == right.evidence.check.objective < 0.15
    x, y, *_ = cells
    wrong = sparse.csr_matrix((np.ones(40, np.float32), (np.roll(np.arange(40), 7), np.arange(40))), (N_X, N_Y))
    report = result(MatchingProblem(x, y, wrong, None, 5, None, 1), "anchors").report
    assert not report.verified
    assert report.to_dict()["verified"] is False


def test_a_check_that_was_made_is_taken(ask):
    check = PairCheck(0.1, 0.5, 0.05, 0.005, 12, 12)
    assert result(dataclasses.replace(ask(12), check=check), "anchors").report.evidence.check is check


@pytest.mark.parametrize(
    ("objective", "linked", "method", "why"),
    [
        (0.5, True, "linked", "^12 pairs are known, which fail their check, but 6 features$"),
        (0.5, False, "anchors", "^12 pairs are known$"),
        (0.1, True, "anchors", "^12 pairs are known$"),
    ],
)
def test_pairs_that_fail_give_way_to_linked_features(ask, objective, linked, method, why):
    check = PairCheck(objective, 0.5, 0.05, 0.005, 12, 12)
    chosen, reason = choose(dataclasses.replace(ask(12, linked=linked), check=check))
    assert chosen == method
    assert re.search(why, reason)


def test_pairs_of_half_a_confidence_leave_room_for_others(cells, ask):
    f = result(ask(12, confidence=0.5), "anchors").matrix
    row = cells[2][0]
    assert_allclose(f[row].sum(), 1, rtol=1e-5)
    assert f[row, 0] >= 0.5
    assert f[row].nnz > 1


def test_cells_with_many_partners_have_rows_that_sum_to_one(cells):
    x, y, *_ = cells
    many = sparse.csr_matrix((np.ones(36, np.float32), (np.repeat(np.arange(12), 3), np.arange(36))), shape=(N_X, N_Y))
    f = result(MatchingProblem(x, y, many, None, 5, None, 1), "anchors").matrix
    assert_allclose(f.sum(1), 1, rtol=1e-5)
    assert_allclose(f[0].toarray()[0, :3], 1 / 3)


def test_few_cells_with_many_partners_are_few(cells):
    x, y, *_ = cells
    many = sparse.csr_matrix((np.ones(27, np.float32), (np.repeat(np.arange(9), 3), np.arange(27))), shape=(N_X, N_Y))
    assert choose(MatchingProblem(x, y, many, None, 5, None, 1))[0] == "gw"


def test_known_pairs_help_the_linked_features(ask, cells):
    noise = np.random.default_rng(0)
    poor = noise.normal(size=(N_X, 6)), noise.normal(size=(N_Y, 6))
    alone = result(dataclasses.replace(ask(), linked=poor), "linked")
    helped = result(dataclasses.replace(ask(40), linked=poor), "linked")
    rest = np.setdiff1d(np.arange(N_X), cells[2][:40])
    mask = sparse.diags_array(np.isin(np.arange(N_X), rest).astype(float))
    assert alone.report.evidence.n_pseudo_pairs == helped.report.evidence.n_pseudo_pairs
    apart = [distance_of_partners(cells, sparse.csr_matrix(mask @ a.matrix)) for a in (alone, helped)]
    assert apart[1] < apart[0]


def test_large_modalities_go_through_clusters(monkeypatch, ask, cells):
    monkeypatch.setattr("jamie.correspondence._manifold.MOST_CELLS", 200)
    mdata = jm.datasets.branching_manifold(n_cells=400, n_features=(20, 20))
    x, y = (np.asarray(mdata[m].X) for m in mdata.mod)
    some = np.arange(30)
    f = sparse.csr_matrix((np.ones(30, np.float32), (some, some)), shape=(400, 400))
    found = result(MatchingProblem(x, y, f, None, 10, None, 2), "anchors").matrix
    latent = np.asarray(mdata.obsm["true_latent"])
    d = cdist(latent, latent)
    assert found[30:].multiply(d[30:]).sum() / 370 < 0.2 * d.mean()
    assert_allclose(result(MatchingProblem(x, y, f * 0, None, 10, None, 2), "gw").matrix.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides(ask, method):
    problem = ask(12, linked=True)
    one, two = (result(problem, method, 3) for _ in range(2))
    assert_array_equal(one.matrix.toarray(), two.matrix.toarray())
    assert repr(one.report) == repr(two.report)  # NaN are equal


def test_what_a_method_lacks_is_said(monkeypatch, ask, cells):
    with pytest.raises(ValueError, match=r"at least 10 known pairs for method='anchors', found 9;.*method='gw'"):
        result(ask(9), "anchors")
    with pytest.raises(ValueError, match=r"expected `linked` features for method='linked', found none; pass linked="):
        result(ask(), "linked")
    x, y, *_ = cells
    nothing = sparse.csr_matrix((3, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"at least 10 mutual neighbours on the linked features, found \d;"):
        result(MatchingProblem(x[:3], y[:3], nothing, (x[:3, :4], y[:3, :4]), 2, None, 1), "linked")
    with pytest.raises(ValueError, match="at least 3 cells in each modality, found 2"):
        result(MatchingProblem(x[:3], y[:2], nothing[:, :2], None, 2, None, 1), "gw")
    monkeypatch.setattr(_infer, "MOST_DENSE", 80)
    with pytest.raises(ValueError, match=r"at most 80 cells in each modality for method='unioncom', found 90;.*'gw'"):
        result(ask(), "unioncom")


@pytest.mark.parametrize("method", ["gw", "unioncom"])
def test_three_cells_are_enough_to_run(cells, method):
    x, y, *_ = cells
    nothing = sparse.csr_matrix((3, 4), dtype=np.float32)
    f = result(MatchingProblem(x[:3], y[:4], nothing, None, 50, None, 3), method).matrix
    assert_allclose(f.sum(1), 1, rtol=1e-5)
