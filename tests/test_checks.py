from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import jamie as jm
from jamie._checks import (
    generator,
    require_fraction,
    require_name,
    require_names,
    require_not_negative,
    require_option,
    require_positive,
    require_same_shape,
    require_unique,
)
from jamie._errors import InvalidValueError, JamieError, MissingNameError, WrongTypeError


def message_of(require, value, choices, **options):
    with pytest.raises(JamieError) as caught:
        require(value, choices, **options)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("require", [require_name, require_option])
@pytest.mark.parametrize("value", ["rna", np.str_("rna")])
def test_a_choice_that_is_there_is_returned(require, value):
    assert require(value, ["rna", "atac"], name="source") == "rna"


@pytest.mark.parametrize(("require", "error"), [(require_name, MissingNameError), (require_option, InvalidValueError)])
@pytest.mark.parametrize("value", ["protien", np.str_("protien")])
def test_a_wrong_choice_shows_the_choices_the_closest_and_the_hint(require, error, value):
    assert message_of(require, value, ["rna", "protein"], name="source", hint="see mdata.mod") == (
        error,
        "expected `source` to be one of ['rna', 'protein'], found 'protien'; did you mean 'protein'?; see mdata.mod",
    )


@pytest.mark.parametrize("value", [3, None, ["rna"], np.nan, True, b"rna", ("a", "b"), pd.NA])
def test_a_choice_of_another_type_is_wrong_too(value):
    expected = f"expected `x` to be one of ['rna'], found {value!r}"
    assert message_of(require_option, value, {"rna": 0}, name="x") == (InvalidValueError, expected)
    error, message = message_of(require_name, value, {"rna": 0}, name="x", hint="ask")
    assert error is WrongTypeError
    assert message.startswith(f"expected `x` to be text, one of ['rna'], found {value!r}")
    assert message.endswith("; ask")
    assert value is None or f"of type {type(value).__name__}" in message


@pytest.mark.parametrize("require", [require_name, require_option])
def test_long_lists_of_choices_are_cut(require):
    _, shown = message_of(require, "?", [f"gene{i}" for i in range(25)], name="features")
    assert "'gene11' and 13 more]" in shown
    assert "gene12" not in shown


NAMES = ["a", "b"]


@pytest.mark.parametrize(
    "names",
    [NAMES, tuple(NAMES), np.array(NAMES), pd.Index(NAMES), pd.Series(NAMES), dict.fromkeys(NAMES), iter(NAMES)],
)
def test_names_come_as_any_list(names):
    assert require_names(names, name="features") == NAMES


@pytest.mark.parametrize("value", ["gene1", np.str_("gene1"), ""])
def test_text_is_no_list_of_names(value):
    with pytest.raises(WrongTypeError, match=rf"found the text '{value}'; pass features=\['{value}'\]$"):
        require_names(value, name="features")
    with pytest.raises(WrongTypeError, match=r"pass modalities=\['rna', 'atac'\]$"):
        require_names(value, name="modalities", example=iter(["rna", "atac", "adt"]))


@pytest.mark.parametrize("value", [3, True, 1.5, None])
def test_a_number_is_no_list_of_names(value):
    with pytest.raises(WrongTypeError, match=rf"`features` to be a list of names, found {value}.*pass features="):
        require_names(value, name="features")


TEXT = {
    "modalities": [
        lambda mdata, _: jm.tl.train(mdata, modalities="rna"),
        lambda mdata, _: jm.pp.prepare(mdata, modalities="rna"),
        lambda mdata, _: jm.pp.correspondence(mdata, modalities="rna"),
        lambda mdata, _: jm.pp.infer_correspondence(mdata, modalities="rna"),
        lambda mdata, _: jm.tl.check_correspondence(mdata, modalities="rna"),
    ],
    "features": [
        lambda mdata, model: jm.tl.impute(mdata, model, source="rna", target="protein", features="protein1"),
        lambda mdata, model: jm.tl.explain(mdata, model, source="rna", target="protein", features="protein1"),
        lambda mdata, model: jm.tl.explain(mdata, model, source="rna", features="latent1"),
        lambda mdata, model: jm.tl.explain(mdata, model, source="rna", labels="cell_type", features="type A"),
        lambda mdata, model: jm.tl.knockout(mdata, model, source="rna", features="protein1"),
    ],
    r"groups\['ribosome'\]": [
        lambda mdata, model: jm.tl.knockout(mdata, model, source="rna", groups={"ribosome": "gene1"}),
    ],
    "baselines": [lambda mdata, model: jm.tl.evaluate(mdata, model, baselines="ridge")],
    "aligners": [lambda mdata, model: jm.tl.evaluate(mdata, model, aligners="cca")],
}


@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in TEXT.items() for call in calls])
def test_every_verb_refuses_text_for_a_list_of_names(trained, name, call):
    mdata, model = trained
    example = r"\['rna', 'protein'\]" if name == "modalities" else r"\['.+'\]"
    with pytest.raises(
        WrongTypeError, match=rf"`{name}` to be a list of names, found the text '.*; pass {name}={example}"
    ):
        call(mdata, model)


def test_tables_and_figures_refuse_text_for_a_list_of_features(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    by_type = {"groupby": "cell_type"}
    for verb, more in ((jm.get.comparison, {}), (jm.pl.imputation, {}), (jm.pl.distributions, by_type)):
        with pytest.raises(WrongTypeError, match=r"pass features=\['protein1'\]"):
            verb(mdata, source="rna", target="protein", features="protein1", **more)


def test_repeated_names_are_counted_and_the_first_is_named():
    require_unique(["a", "b"], where="w", remedy="r")
    require_unique([], where="w", remedy="r")
    with pytest.raises(ValueError, match=r"unique names in `obs`, found 2 repeated, first 'a'; call fix\(\)"):
        require_unique(["b", "a", "b", "a", "c", "a"], where="obs", remedy="fix()")


@pytest.mark.parametrize("value", [0, 1, -0.1, 80, float("nan")])
def test_fraction_is_open_at_both_ends(value):
    with pytest.raises(ValueError, match=rf"0 < `test_fraction` < 1, found {value}"):
        require_fraction(value, name="test_fraction")


def test_fraction_is_returned():
    assert require_fraction(0.25, name="f") == 0.25


def test_numbers_below_one_are_refused_by_name():
    require_positive(a=1, b=7)
    for value in (2.5, "2", True, None, np.float64(3)):
        with pytest.raises(ValueError, match="expected `b` as a whole number of at least 1, found "):
            require_positive(a=1, b=value)
    with pytest.raises(ValueError, match="expected `b` of at least 0, found -1"):
        require_not_negative(a=0, b=-1)
    with pytest.raises(ValueError, match="expected `b` of at least 1, found 0"):
        require_positive(a=1, b=0)


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_shapes_that_would_broadcast_are_refused(make):
    require_same_shape(make((3, 2)), make((3, 2)), names=("a", "b"))
    with pytest.raises(ValueError, match=r"expected `a` and `b` of the same shape, found .*3, 2.* and .*1, 2"):
        require_same_shape(make((3, 2)), make((1, 2)), names=("a", "b"))


def test_a_generator_is_advanced_and_a_seed_is_not():
    rng = np.random.default_rng(0)
    assert generator(rng) is rng
    for seed in (3, np.int8(3), np.uint64(3), np.int64(3)):
        assert generator(seed).random() == np.random.default_rng(3).random()
    assert generator(0).random() == np.random.default_rng(0).random()
    assert generator(None).random() != generator(None).random()


@pytest.mark.parametrize(
    ("rng", "error", "remedy"),
    [
        ("abc", WrongTypeError, "found 'abc' of type str; pass rng=0"),
        ("3", WrongTypeError, "found '3' of type str"),
        (3.0, WrongTypeError, "found 3.0 of type float"),
        (np.float32(1), WrongTypeError, "of type float32"),
        (float("nan"), WrongTypeError, "found nan of type float"),
        (True, WrongTypeError, "found True of type bool"),
        (np.bool_(0), WrongTypeError, "of type bool"),
        ([1, 2], WrongTypeError, r"found \[1, 2\] of type list"),
        (np.array([1, 2]), WrongTypeError, "of type ndarray"),
        (np.random.RandomState(0), WrongTypeError, r"of type RandomState; pass numpy\.random\.default_rng\(0\)"),
        (np.random, WrongTypeError, "of type module"),
        (torch.Generator(), WrongTypeError, "of type Generator"),
        (-1, InvalidValueError, "found -1; pass rng=1"),
        (np.int64(-7), InvalidValueError, "found -7; pass rng=7"),
    ],
)
def test_what_is_no_seed_is_refused(rng, error, remedy):
    takes = r"`rng` to be a whole number of at least 0, a numpy\.random\.Generator or None, "
    with pytest.raises(error, match=takes + ".*" + remedy):
        generator(rng)
