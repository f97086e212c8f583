"""Which cells a knock-out is judged by: drawn from what is held out, labelled in both, and never fewer than needed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import jamie as jm
from jamie.attribution import labelled_cells, paired_cells
from jamie.data import HELD_OUT, NEW, TRAIN

NAMES = ("rna", "protein")


@pytest.mark.parametrize("n_cells", [1, 4, 100])
def test_pairs_are_drawn_together_and_stay_in_order(n_cells):
    pairs = np.arange(10), np.arange(10)[::-1]
    judged = paired_cells(pairs, cells="held-out", names=NAMES, n_cells=n_cells, rng=np.random.default_rng(0))
    assert len(judged.source) == min(n_cells, 10)
    assert_array_equal(judged.source, np.unique(judged.source))
    assert_array_equal(judged.target, 9 - judged.source)
    assert (judged.cells, judged.source_labels) == ("held-out", None)


@pytest.mark.parametrize("n", [0, 2])
def test_few_pairs_are_refused_with_both_remedies(n):
    pairs = np.arange(n), np.arange(n)
    with pytest.raises(
        jm.JamieError, match=rf"at least 3 pairs of 'rna' and 'protein' .* found {n}; .*correspondence.*labels"
    ):
        paired_cells(pairs, cells="held-out", names=NAMES, n_cells=5, rng=np.random.default_rng(0))


def labels_of(text):
    return np.array([None if character == "." else character for character in text], dtype=object)


def drawn(source, target, train, n_cells=100):
    roles = tuple(np.array([TRAIN if character == "t" else HELD_OUT for character in use]) for use in train)
    return labelled_cells(
        (labels_of(source), labels_of(target)), roles, names=NAMES, n_cells=n_cells, rng=np.random.default_rng(0)
    )


def test_held_out_cells_with_a_label_judge_or_all_where_a_modality_has_none_held_out():
    judged = drawn("ab.ab", ".aabbba", ("tt...", "t......"))
    assert_array_equal(judged.source, [3, 4])
    assert_array_equal(judged.target, [1, 2, 3, 4, 5, 6])
    assert_array_equal(judged.source_labels, ["a", "b"])
    assert_array_equal(judged.target_labels, list("aabbba"))
    assert judged.cells == "held-out"
    judged = drawn("ab.ab", ".aabbba", ("ttttt", "t......"))
    assert_array_equal(judged.source, [0, 1, 3, 4])
    assert judged.cells == "in-sample"
    assert len(drawn("ab.ab", ".aabbba", ("ttttt", "t......"), n_cells=2).source) == 2


@pytest.mark.parametrize(
    ("of_source", "of_target", "which"),
    [
        (NEW, NEW, "new"),
        (HELD_OUT, HELD_OUT, "held-out"),
        (HELD_OUT, NEW, "held-out and new"),
        (TRAIN, NEW, "in-sample"),
    ],
)
def test_new_cells_are_not_called_held_out(of_source, of_target, which):
    labels, roles = (labels_of("ab"), labels_of("aabbb")), (np.full(2, of_source), np.full(5, of_target))
    judged = labelled_cells(labels, roles, names=NAMES, n_cells=9, rng=np.random.default_rng(0))
    assert judged.cells == which


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("..", "aaaaa", "at least 1 labelled cells of 'rna' to judge by, found 0"),
        ("ab", "aab..", "at least 5 labelled cells of 'protein' to judge by, found 3"),
        (
            "ab",
            "ccccc",
            "labels that cells of both 'rna' and 'protein' have, found none, but 'a' in the one and 'c' in",
        ),
    ],
)
def test_labels_that_cannot_judge_are_refused(source, target, message):
    with pytest.raises(jm.JamieError, match=message):
        drawn(source, target, ("t" * len(source), "t" * len(target)))
