"""Slot names: no two slots of one container meet, whatever free names and prefixes are called."""

from __future__ import annotations

from itertools import chain, permutations

import numpy as np
import pytest
from mudata import MuData, read_h5mu, read_zarr

import jamie as jm
from jamie._keys import RESERVED, Keys, beside, is_beside, is_file_name

HOSTILE = [
    "a", "b", "a_b", "b_c", "c", "a_b_c", "_a", "a_", "__", "(a", "a)", "(a_b)", "((", "))", "a b", " a", "a.b", "a:b",
    "a_lower", "(a_lower)", "((a_lower))", "a_sample_0", "a_sample_0_upper", "lower", "sample_1",
    "é", "e\u0301", "日本", "1", "10", "latent", "groups", "groups_auroc_a", "by_distance", "jamie", "X", "X_jamie",
    "A\nb", "input_a", "a_input", "distance_a", *RESERVED,
]  # fmt: skip
UNHOLDABLE = ["a/b", "/", "", " ", "\t", "a\0b", ".", "..", "\ud800", None, 5, b"a", ("a",)]
MEASURES = ("correlation", "auroc", "js_distance", "sd_ratio", "likelihood", "accuracy")


def slots(keys, names):
    """(container, slot) of each result that could be written with these free names, by what it is."""
    pairs = list(permutations(names, 2)) + [(name, name) for name in names]
    plain = {
        "mdata.obs": ["split"],
        "mdata.uns": ["model", "models", "correspondence", "diagnosis", "evaluation", "links", "knockout_by_distance"],
        "mdata.obsm": ["latent"],
        "obs": ["role", "imputed", "completed_confidence", "completed_novelty"],
        "obsm": ["input", "latent"],
        "varm": ["loadings"],
        "uns": ["preparation"],
        "layers": ["imputed", "reconstructed"],
    }
    for container, words in plain.items():
        for word in words:
            yield (container, word), getattr(keys, word)
    of_one = {
        "obs": ["label", "confidence", "imputation_confidence", "novelty"],
        "obsm": ["imputed_from_source"],
        "varm": ["scores_from", "js_distance_from", "shap"],
        "uns": ["imputed_from_source", "shap"],
    }
    for container, words in of_one.items():
        for word in words:
            for name in names:
                yield (container, word, name), getattr(keys, word)(name)
    for what in ("lower", "upper", "sample_0", "sample_12"):
        yield ("layers", "imputed", what), beside(keys.imputed, what)
        for name in names:
            yield ("obsm", "imputed_from_source", name, what), beside(keys.imputed_from_source(name), what)
    of_two = {"mdata.obsp": ["known", "inferred", "match"], "mdata.uns": ["inferred"], "layers": ["shap_by_cell"]}
    for container, words in of_two.items():
        for word in words:
            for pair in pairs:
                yield (container, word, *pair), getattr(keys, word)(*pair)
    for a, b in pairs:
        for target, sources in (("a_b", (a, b)), ("c", (b, a, "c")), (a, ("a_b", b, b))):
            slot = keys.imputed_from_sources(target, *sources)
            yield ("mdata.obsm", "imputed_from_sources", target, sources), slot
            for what in ("lower", "upper", "sample_0"):
                yield ("mdata.obsm", "imputed_from_sources", target, sources, what), beside(slot, what)
    for measure in MEASURES:
        yield ("var", "score", measure), keys.score(measure)
        for name in names:
            for container in ("var", "varm", "uns"):
                yield (container, "knockout", measure, name), keys.knockout(measure, name)
            yield ("uns", "knockout_groups", measure, name), keys.knockout_groups(measure, name)


def meeting(all_slots):
    """Results that would be written to one place."""
    taken = {}
    return [(what, taken[what[0], key]) for what, key in all_slots if taken.setdefault((what[0], key), what) != what]


def test_no_two_slots_of_one_prefix_meet():
    assert meeting(slots(Keys(), HOSTILE)) == []


def test_two_names_that_are_put_together_without_brackets_would_meet(monkeypatch):
    monkeypatch.setattr("jamie._keys._bracketed", lambda name: name)
    assert meeting(slots(Keys(), ["a", "a_b", "b_c", "c"]))


def accepted(names):
    for name in names:
        try:
            yield Keys(name)
        except ValueError:
            continue


def test_no_two_slots_of_two_prefixes_meet():
    words = ["split", "input", "imputed", "imputed_a", "imputation", "novelty", "label", "scores", "shap_a"]
    prefixes = ["jamie", "a", "a_b", "second", "X", "X_a", "é", "1", "a b", "jamie_2", "Xa", "_", *words]
    prefixes += [f"{name}_{word}" for name in ("jamie", "a", "X", "X_a") for word in words]
    both = list(accepted(prefixes))
    assert {keys.prefix for keys in both} >= {"jamie", "a", "a_b", "split", "imputed", "imputed_a", "jamie_2", "Xa"}
    found = [((*what, keys.prefix), key) for keys in both for what, key in slots(keys, ["a", "input", "a_b", "role"])]
    assert meeting(found) == []


@pytest.mark.parametrize("word", RESERVED)
@pytest.mark.parametrize("rest", ["", "_a", "_a_b", "_\n"])
def test_prefixes_that_go_on_with_a_reserved_word_are_refused(word, rest):
    for prefix in (f"jamie_{word}{rest}", f"mine_{word}{rest}", f"a_b_{word}{rest}"):
        if prefix.strip() != prefix:
            continue
        with pytest.raises(ValueError, match=r"no slot could be that of another, found .* pass another name"):
            Keys(prefix)
    Keys(word + rest.strip())
    Keys(f"mine{word}")


@pytest.mark.parametrize("prefix", ["X", "X_", "X_jamie", "X_a"])
def test_prefixes_do_not_hold_what_is_put_before_them(prefix):
    with pytest.raises(ValueError, match=r"without 'X_', which is put before it, found .*; pass key_added='\w+'"):
        Keys(prefix)


@pytest.mark.parametrize("name", UNHOLDABLE)
def test_what_no_file_holds_is_no_prefix_and_no_free_name(name):
    assert not is_file_name(name)
    with pytest.raises(ValueError, match="`key_added` as a name that a file can hold"):
        Keys(name)
    keys = Keys()
    for slot in (keys.label, keys.confidence, keys.imputed_from_source, keys.scores_from, keys.shap):
        with pytest.raises(ValueError, match=r"a name that a file can hold, found .*; rename it"):
            slot(name)
    for slot in (keys.known, keys.inferred, keys.match, keys.shap_by_cell):
        for pair in (("a", name), (name, "a")):
            with pytest.raises(ValueError, match="a name that a file can hold"):
                slot(*pair)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names(name):
    assert is_file_name(name)
    assert f"jamie_label_{name}" == Keys().label(name)


@pytest.mark.parametrize("write", ["h5mu", "zarr"])
def test_what_is_written_under_hostile_names_survives_a_file(tmp_path, write):
    names = [name for name in HOSTILE if name not in ("e\u0301", "A\nb")]
    toy = jm.datasets.toy()
    mdata = MuData({"rna": toy["rna"].copy(), "protein": toy["protein"].copy()})
    sizes = {"mdata": mdata, "rna": mdata["rna"]}
    written = {}
    some = names[::9]  # in twos, for all pairs of them are a thousand arrays
    by_two = chain.from_iterable(slots(Keys(), some[i : i + 2]) for i in range(0, len(some), 2))
    for i, (what, key) in enumerate(by_two):
        place = sizes["mdata" if what[0].startswith("mdata.") else "rna"]
        container, value = what[0].removeprefix("mdata."), float(i)
        if container not in ("obs", "obsm", "uns", "layers"):
            continue
        shape = {"obs": place.n_obs, "obsm": (place.n_obs, 1), "layers": (place.n_obs, 40)}.get(container)
        getattr(place, container)[key] = value if shape is None else np.full(shape, value)
        written[what[0], container, key] = value
    path = tmp_path / f"x.{write}"
    mdata.write(path) if write == "h5mu" else mdata.write_zarr(path)
    read = read_h5mu(path) if write == "h5mu" else read_zarr(path)
    for (where, container, key), value in written.items():
        place = read if where.startswith("mdata.") else read["rna"]
        assert np.all(np.asarray(getattr(place, container)[key]) == value), (where, key)
    assert len(written) > 60


@pytest.mark.parametrize(
    "names",
    [("input", "split"), ("a_b", "latent"), ("groups", "(a"), ("é x", "role"), ("jamie", "X_jamie"), ("1", "rna")],
)
def test_modalities_of_any_names_are_trained_imputed_and_evaluated(names, tmp_path):
    toy = jm.datasets.toy()
    mdata = MuData(dict(zip(names, (toy["rna"].copy(), toy["protein"].copy()), strict=True)))
    jm.pp.split(mdata)
    jm.pp.prepare(mdata)
    model = jm.tl.train(mdata, max_steps=2)
    for source, target in permutations(names):
        jm.tl.impute(mdata, model, source=source, target=target)
        jm.tl.match(mdata, source=source, target=target)
        jm.tl.transfer_labels(mdata, labels="cell_type", source=source, target=target)
    jm.tl.evaluate(mdata, model, baselines=[])
    before = model.embed(mdata)
    jm.tl.train(mdata, max_steps=2)  # what was prepared is still what was prepared
    path = tmp_path / "x.h5mu"
    mdata.write(path)
    model.save(tmp_path / "x.jamie")
    after = jm.JAMIE.load(tmp_path / "x.jamie").embed(read_h5mu(path))
    for name in names:
        np.testing.assert_array_equal(before[name], after[name])


def test_what_is_beside_imputed_values_is_told_from_those_of_another_target():
    keys = Keys()
    for name in HOSTILE:
        slot = keys.imputed_from_source(name)
        for other in HOSTILE:
            assert not is_beside(keys.imputed_from_source(other), slot)
        assert is_beside(beside(slot, "lower"), slot)
    assert keys.imputed_from_source("protein") == "jamie_imputed_protein"
    assert keys.imputed_from_source("a_lower") == "jamie_imputed_(a_lower)"
