from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestNeighbors

from jamie.metrics import _alignment, alignment_scores, foscttm, foscttm_error, label_transfer_accuracy


def loops(x, y):
    """FOSCTTM by its definition, one pair at a time."""
    n = len(x)
    total = 0
    for a, b in ((x, y), (y, x)):
        for i in range(n):
            own = np.sum((a[i] - b[i]) ** 2)
            others = [np.sum((a[i] - b[j]) ** 2) for j in range(n) if j != i]
            total += sum((other < own) + (other == own) / 2 for other in others)
    return total / (2 * n * (n - 1))


@pytest.fixture
def latents():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    return x, x + rng.normal(size=x.shape)


@pytest.mark.parametrize("block", [1, 7 * 60, 59 * 60, 1 << 22], ids=["one row", "seven rows", "all but one", "all"])
def test_foscttm_is_the_double_loop_whatever_the_blocks(latents, block, monkeypatch):
    monkeypatch.setattr(_alignment, "_BLOCK", block)
    assert foscttm(*latents) == pytest.approx(loops(*latents), abs=1e-12)
    assert foscttm(*latents) > 0.05


@pytest.mark.parametrize(("offset", "scale"), [(0, 1e-25), (0, 1e25), (1e6, 1), (-1e3, 1e-4)])
def test_foscttm_keeps_far_and_tiny_latents_apart(latents, offset, scale):
    x, y = (scale * latent + offset for latent in latents)
    assert foscttm(x, y) == pytest.approx(loops(x, y), abs=1e-12)


def test_foscttm_settles_near_ties_beyond_single_precision():
    rng = np.random.default_rng(1)
    centre = rng.normal(size=(3, 5))[rng.integers(3, size=80)]
    x, y = (centre + 1e-9 * rng.normal(size=centre.shape) for _ in range(2))
    assert foscttm(x, y) == pytest.approx(loops(x, y), abs=1e-12)
    assert foscttm(x, y) > 0.1
    twice = np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0)
    assert foscttm(*twice) == pytest.approx(loops(*twice), abs=1e-12)


def test_foscttm_of_a_latent_with_itself_is_exactly_0():
    z = np.random.default_rng(0).normal(size=(500, 33))
    assert foscttm(z, z) == 0
    assert foscttm(z.astype(np.float32) + 100, z.astype(np.float32) + 100) == 0


@pytest.mark.parametrize("n", [2, 3, 50, 1000])
@pytest.mark.parametrize("at", [0.0, 0.1, -1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_latents_that_collapsed_are_at_chance(n, at, dtype):
    point, other = np.full((n, 6), at, dtype=dtype), np.full((n, 6), at + 0.3, dtype=dtype)
    z = np.random.default_rng(0).normal(size=(n, 6)).astype(dtype)
    assert foscttm(point, point) == 0.5
    assert foscttm(point, other) == 0.5
    assert foscttm(point, z) == foscttm(z, point) == 0.5


def test_ties_count_one_half():
    # all are equally far, whichever way: 12 ties
    assert foscttm(np.zeros((3, 1)), np.array([[1.0], [-1.0], [1.0]])) == 0.5
    # from the left two ties; from the right the first is at its match, and the second nearer to the first
    assert foscttm(np.array([[0.0], [5.0]]), np.zeros((2, 1))) == (0.5 + 0.5 + 0 + 1) / 4
    grid = np.random.default_rng(0).integers(0, 3, size=(2, 70, 2)).astype(float)
    assert foscttm(*grid) == pytest.approx(loops(*grid), abs=1e-12)
    two_places = np.repeat([[0.0], [1.0]], 3, axis=0)
    assert foscttm(two_places, two_places) == pytest.approx(2 * 0.5 / 5)  # two others at one's own place, of five


def test_copies_of_cells_tie_with_each_other(latents):
    x, y = latents
    thrice = np.repeat(x, 3, axis=0), np.repeat(y, 3, axis=0)
    assert foscttm(*thrice) == pytest.approx(loops(*thrice), abs=1e-12)
    exact = np.repeat(x, 3, axis=0)
    assert foscttm(exact, exact) == pytest.approx(2 * 0.5 / 179)


@pytest.mark.parametrize("seed", range(5))
def test_cells_on_a_coarse_grid_are_the_double_loop(seed):
    rng = np.random.default_rng(seed)
    n, d, levels = rng.integers(2, 40), rng.integers(1, 4), rng.integers(1, 5)
    x, y = rng.integers(0, levels, size=(2, n, d)).astype(rng.choice([np.float32, np.float64]))
    assert foscttm(x, y) == pytest.approx(loops(x, y), abs=1e-12)


def test_one_cell_says_nothing():
    assert np.isnan(foscttm(np.zeros((1, 2)), np.ones((1, 2))))
    assert np.isnan(foscttm(np.array([[0.0], [np.nan]]), np.array([[0.0], [1.0]])))


def test_foscttm_of_reversed_cells():
    z = np.arange(4.0)[:, None]
    # each of the outer cells has its match farthest (3 closer); of the inner ones one is closer, and one ties
    assert foscttm(z, z[::-1]) == loops(z, z[::-1]) == (3 + 1.5 + 1.5 + 3) / 12
    assert foscttm(np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])) == 1


def test_foscttm_is_chance_for_unrelated_latents():
    rng = np.random.default_rng(0)
    assert foscttm(rng.normal(size=(800, 5)), rng.normal(size=(800, 5))) == pytest.approx(0.5, abs=0.03)


def test_foscttm_leaves_out_cells_with_nan(latents):
    x, y = (latent.copy() for latent in latents)
    x[3, 0] = y[10, 2] = np.nan
    kept = np.delete(np.arange(60), [3, 10])
    assert foscttm(x, y) == pytest.approx(loops(x[kept], y[kept]), abs=1e-12)


def test_latents_of_any_type_of_numbers(latents):
    whole = [np.rint(10 * latent) for latent in latents]
    for kind in (object, int, np.float32):
        assert foscttm(*(latent.astype(kind) for latent in whole)) == foscttm(*whole)


def test_foscttm_changes_nothing_it_is_given(latents):
    before = [latent.copy() for latent in latents]
    foscttm(*latents)
    assert all(np.array_equal(a, b) for a, b in zip(latents, before, strict=True))


def test_foscttm_refuses(latents):
    x, y = latents
    with pytest.raises(ValueError, match=r"same shape, found \(60, 4\) and \(59, 4\)"):
        foscttm(x, y[1:])
    with pytest.raises(ValueError, match=r"`x` as cells × latent dimensions.*found shape \(60,\)"):
        foscttm(x[:, 0], y[:, 0])
    with pytest.raises(ValueError, match=r"`y` .*found infinite values"):
        foscttm(x, np.where(y == y[0, 0], np.inf, y))
    with pytest.raises(ValueError, match="found none among 60"):
        foscttm(x, np.full_like(y, np.nan))


def test_foscttm_within_groups_counts_others_of_the_group_alone(latents):
    x, y = latents
    groups = np.random.default_rng(0).choice(["a", "b", None], size=60).astype(object)
    groups[7] = "alone"
    expected = []
    for i in range(60):
        others = [j for j in range(60) if j != i and groups[j] == groups[i] and groups[i] is not None]
        if others:
            for a, b in ((x, y), (y, x)):
                own = np.sum((a[i] - b[i]) ** 2)
                expected.append(np.mean([np.sum((a[i] - b[j]) ** 2) < own for j in others]))
    assert foscttm(x, y, groups=groups) == pytest.approx(np.mean(expected), abs=1e-12)
    assert foscttm(x, y, groups=["all"] * 60) == foscttm(x, y)
    assert np.isnan(foscttm(x, y, groups=np.arange(60)))
    with pytest.raises(ValueError, match="one label for each of the 60 cells of `x`"):
        foscttm(x, y, groups=["a"])


def test_types_alone_are_chance_within_types():
    rng = np.random.default_rng(0)
    kind = rng.integers(5, size=400)
    x, y = (10 * np.eye(5)[kind] + 0.1 * rng.normal(size=(400, 5)) for _ in range(2))
    assert foscttm(x, y) < 0.15
    assert foscttm(x, y, groups=kind) == pytest.approx(0.5, abs=0.04)
    centres = 10 * np.eye(5)[kind]  # collapsed to a point for each type
    assert foscttm(centres, centres, groups=kind) == 0.5


def test_foscttm_error_is_what_other_cells_would_move():
    rng = np.random.default_rng(0)

    def drawn(n=150):
        x = rng.normal(size=(n, 4))
        return x, x + 0.7 * rng.normal(size=x.shape)

    anew = np.std([foscttm(*drawn()) for _ in range(200)])
    assert np.mean([foscttm_error(*drawn()) for _ in range(10)]) == pytest.approx(anew, rel=0.2)
    assert foscttm_error(np.zeros((20, 2)), np.zeros((20, 2))) == 0
    assert np.isnan(foscttm_error(*drawn(2)))


def test_foscttm_error_is_the_projection_by_loops(latents):
    grid = np.random.default_rng(0).integers(0, 3, size=(2, 25, 2)).astype(float)  # full of ties
    for x, y in ((latents[0][:25], latents[1][:25]), grid):
        n, of_cell = 25, np.zeros(25)
        for a, b in ((x, y), (y, x)):
            for i in range(n):
                for j in np.delete(np.arange(n), i):
                    own, other = np.linalg.norm(a[i] - b[i]), np.linalg.norm(a[i] - b[j])
                    closer = (other < own) + (other == own) / 2
                    of_cell[[i, j]] += closer / (4 * (n - 1))
        assert foscttm(x, y) == pytest.approx(of_cell.mean())
        assert foscttm_error(x, y) == pytest.approx(2 * of_cell.std(ddof=1) / np.sqrt(n))


def test_the_macro_average_is_over_labels():
    x = np.array([[0.0], [0.1], [0.2], [0.3], [9.0], [5.0]])
    y = np.array([[0.0], [0.1], [0.2], [0.3], [9.0], [0.0]])
    labels = ["a", "a", "a", "a", "b", "c"]
    assert label_transfer_accuracy(x, y, labels, n_neighbors=1) == pytest.approx(5 / 6)
    assert label_transfer_accuracy(x, y, labels, n_neighbors=1, average="macro") == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"`average`.*did you mean 'macro'"):
        label_transfer_accuracy(x, y, labels, average="macr")


def vote(x, y, labels_x, labels_y, k):
    """Accuracy by a plain count of votes; the alphabet settles a draw."""
    right = 0
    for cell, label in zip(x, labels_x, strict=True):
        nearest = np.argsort(np.sum((y - cell) ** 2, axis=1))[:k]
        names, counts = np.unique(np.asarray(labels_y)[nearest], return_counts=True)
        right += names[np.argmax(counts)] == label
    return right / len(x)


@pytest.mark.parametrize("k", [1, 4, 5])
def test_label_transfer_is_the_vote(latents, k):
    x, y = latents
    labels = np.random.default_rng(2).choice(["b", "a", "c"], size=60)
    labels[x[:, 0] > 0] = "d"
    assert label_transfer_accuracy(x, y, labels, n_neighbors=k) == vote(x, y, labels, labels, k)
    accuracy = label_transfer_accuracy(x[:40], y, labels[:40], labels_y=labels, n_neighbors=k)
    assert accuracy == vote(x[:40], y, labels[:40], labels, k)


def test_label_transfer_trains_on_the_second_latent():
    x, y = np.array([[0.0], [0.1], [9.0]]), np.array([[0.0], [9.0], [9.1]])
    # y's only cell near x[:2] is an "a"; both cells near x[2] are "b"
    assert label_transfer_accuracy(x, y, ["a", "b", "b"], labels_y=["a", "b", "b"], n_neighbors=1) == 2 / 3
    assert label_transfer_accuracy(y, x, ["a", "b", "b"], labels_y=["a", "b", "b"], n_neighbors=1) == 1


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_label_transfer_leaves_out_what_is_missing(latents, missing):
    x, y = latents[0], latents[1].copy()
    labels = np.where(x[:, 0] > 0, "up", "down").astype(object)
    labels[:7] = missing
    y[20] = np.nan
    y_kept = np.setdiff1d(np.arange(7, 60), 20)
    expected = label_transfer_accuracy(x[7:], y[y_kept], labels[7:], labels_y=labels[y_kept])
    assert label_transfer_accuracy(x, y, pd.Series(labels)) == expected
    assert label_transfer_accuracy(x, y, pd.Categorical(labels)) == expected


def test_numbers_serve_as_labels(latents):
    x, y = latents
    numbers = (x[:, 0] > 0).astype(int)
    expected = label_transfer_accuracy(x, y, numbers.astype(str))
    assert (
        label_transfer_accuracy(x, y, numbers)
        == label_transfer_accuracy(x, y, numbers, labels_y=numbers * 1.0)
        == expected
    )


def test_an_unknown_label_is_wrong(latents):
    x, y = latents
    assert label_transfer_accuracy(x, y, ["new"] * 60, labels_y=["old"] * 60) == 0


def test_label_transfer_refuses(latents):
    x, y = latents
    labels = ["a"] * 60
    with pytest.raises(ValueError, match=r"1 <= `n_neighbors` <= 60.*found 61"):
        label_transfer_accuracy(x, y, labels, n_neighbors=61)
    with pytest.raises(ValueError, match="<= 2, the labelled cells of `y`, found 5"):
        label_transfer_accuracy(x, y, labels, labels_y=["a", "b"] + [None] * 58)
    with pytest.raises(ValueError, match=r"50 cells of `y`.*pass `labels_y`"):
        label_transfer_accuracy(x, y[:50], labels)
    with pytest.raises(ValueError, match=r"60 cells of `x`, found shape \(59,\)"):
        label_transfer_accuracy(x, y, labels[1:], labels_y=labels)
    with pytest.raises(ValueError, match="at least one labelled cell in `x`"):
        label_transfer_accuracy(x, y, [None] * 60, labels_y=labels)
    with pytest.raises(ValueError, match="`x` as cells × latent dimensions"):
        label_transfer_accuracy(x[0], y, labels)
    with pytest.raises(ValueError, match="`y` as cells × latent dimensions"):
        label_transfer_accuracy(x, y[0], labels)


@pytest.mark.slow
def test_foscttm_of_many_cells_stays_small_in_memory():
    import tracemalloc

    rng = np.random.default_rng(0)
    x = rng.normal(size=(30_000, 8))
    y = x + 0.3 * rng.normal(size=x.shape)
    tracemalloc.start()
    value = foscttm(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # a matrix of all distances would hold 7.2 GB
    distance = np.sqrt(((x[:300] - y[:300]) ** 2).sum(1))
    near = NearestNeighbors().fit(y)
    counts = [len(near.radius_neighbors(x[i : i + 1], distance[i] * (1 - 1e-12))[0][0]) for i in range(300)]
    assert value == pytest.approx(np.mean(counts) / len(x), rel=0.3)


@pytest.fixture
def labelled(latents):
    """Labels of both sides, some of them missing, some that differ between the two."""
    rng = np.random.default_rng(4)
    of_x = rng.choice(["a", "a", "a", "b", "c"], size=60).astype(object)
    of_y = of_x.copy()
    of_x[:4], of_y[2:8], of_y[8:12] = None, np.nan, "b"
    return *latents, of_x, of_y


def test_scores_of_alignment_are_the_measures_of_those_names(labelled):
    x, y, of_x, of_y = labelled
    found = alignment_scores(x, y, of_x, pd.Series(of_y))
    same = [a if isinstance(a, str) and a == b else None for a, b in zip(of_x, of_y, strict=True)]
    known = of_x[[isinstance(label, str) for label in of_x]]
    counts = np.unique(known, return_counts=True)[1]
    assert found == {
        "foscttm": foscttm(x, y),
        "foscttm_within": foscttm(x, y, groups=same),
        "lta": label_transfer_accuracy(x, y, of_x, labels_y=of_y),
        "lta_macro": label_transfer_accuracy(x, y, of_x, labels_y=of_y, average="macro"),
        "lta_chance": counts.max() / len(known),
        "lta_macro_chance": 1 / 3,
    }
    assert found["foscttm_within"] != pytest.approx(foscttm(x, y, groups=of_x))


def test_without_labels_of_both_sides_the_score_is_that_of_cells_alone(labelled):
    x, y, of_x, of_y = labelled
    expected = {"foscttm": foscttm(x, y)}
    assert alignment_scores(x, y) == alignment_scores(x, y, of_x) == alignment_scores(x, y, labels_y=of_y) == expected


def test_with_few_labelled_cells_fewer_vote(latents):
    x, y = latents
    labels = np.full(60, None, dtype=object)
    labels[:3] = ["a", "b", "b"]  # of three votes, all those that there are, two are for b
    found = alignment_scores(x, y, labels, labels)
    assert found["lta"] == pytest.approx(2 / 3)
    assert found["lta_macro"] == 0.5
    with pytest.raises(ValueError, match="pass labels that are not missing"):
        alignment_scores(x, y, np.full(60, None), labels)
