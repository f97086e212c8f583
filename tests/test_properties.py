"""Any MuData and any call: finite results in the documented slots, or one of our errors and nothing changed.

Never another exception, a warning of a dependency, or a NaN where a number is promised. Cases are generated: dtypes and
containers, cells that are shared or not, values of every sort, hostile names, and one to three calls on each.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from mudata import MuData
from scipy import sparse

import jamie as jm

TINY = replace(
    jm.recipes["default"], hidden=(8,), n_latent=2, n_comps=4, batch_size=16, max_steps=4, min_steps=1, cycles=1
)
PAPER = replace(jm.recipes["paper"], n_latent=2, n_comps=3, batch_size=16, max_steps=2, min_steps=1)

NAMES = (
    "rna", "protein", "atac", "a_b", "b", "input", "split", "two words", "é☃", "protein_lower", "(", "a/b", "", "..",
)  # fmt: skip
KINDS = ("counts", "binary", "normal", "tiny", "huge", "constant", "zeros", "negative", "fractions", "few values")
KIND_OF = {"rna": "counts", "protein": "normal", "atac": "binary"}
DTYPES = ("float64", "float32", "float16", "int64", "int32", "uint8", "int8", "bool", "object", "complex64")
STORES = (
    "dense", "columns first", "reversed view", "csr", "csc", "coo", "csr array", "unsorted", "repeated",
    "explicit zeros", "dask", "dask csr", "backed", "view", "masked", "layer",
)  # fmt: skip
CELLS = ("all", "most", "half", "disjoint", "one", "none", "shuffled", "other order")
SPECIAL = ("none", "one nan", "nan column", "nan row", "half nan", "inf", "minus inf")
CELL_NAMES = ("text", "numbers", "repeated", "nullable", "é/☃", "blanks")
COLUMNS = ("categorical", "object", "mixed", "nullable", "bool", "floats", "missing", "one label")


@dataclass(frozen=True)
class Modality:
    """One modality of a case."""

    name: str
    cells: str
    n_features: int
    kind: str
    dtype: str
    store: str
    special: str


@dataclass(frozen=True)
class Case:
    """A MuData, and what is called on it."""

    n_cells: int
    modalities: tuple[Modality, ...]
    column: str
    names: str
    seed: int
    calls: tuple[str, ...]


def usual(*choices: Any, others: tuple[Any, ...]) -> st.SearchStrategy:
    """Mostly one of the first, so that most calls get far; or any of the others."""
    return st.one_of(st.sampled_from(choices), st.sampled_from(choices), st.sampled_from((*choices, *others)))


@st.composite
def modalities(draw, names: tuple[str, ...]) -> tuple[Modality, ...]:
    any_names = st.lists(usual(*names[:3], others=names[3:]), min_size=1, max_size=4, unique=True)
    chosen = draw(st.one_of(st.just(names[:2]), st.just(names[:3]), st.permutations(names[:2]), any_names))
    return tuple(
        Modality(
            name,
            draw(usual("all", "most", others=CELLS)),
            draw(usual(12, others=(1, 2, 5, 11))),
            draw(usual(KIND_OF.get(name, "normal"), others=KINDS)),
            draw(usual("float32", "float64", others=DTYPES)),
            draw(usual("dense", "csr", others=STORES)),
            draw(usual("none", others=SPECIAL)),
        )
        for name in chosen
    )


@st.composite
def cases(draw, verbs: tuple[str, ...], names: tuple[str, ...] = NAMES) -> Case:
    return Case(
        draw(usual(24, 40, others=(0, 1, 2, 5))),
        draw(modalities(names)),
        draw(st.sampled_from(COLUMNS)),
        draw(usual("text", others=CELL_NAMES)),
        draw(st.integers(0, 3)),
        tuple(draw(st.lists(st.sampled_from(verbs), min_size=1, max_size=3))),
    )


def values(modality: Modality, latent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values of some kind of cells with a latent that modalities share, so that there is something to learn."""
    (n, _), d = latent.shape, modality.n_features
    x = latent @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(n, d))
    if modality.kind == "counts":
        x = rng.poisson(np.exp(np.clip(x, -5, 3)))
    made = {
        "binary": lambda: x > 0,
        "tiny": lambda: x * 1e-30,
        "huge": lambda: x * 1e30,
        "constant": lambda: np.full_like(x, 3),
        "zeros": lambda: np.zeros_like(x),
        "negative": lambda: -np.abs(x),
        "fractions": lambda: np.round(np.abs(x), 1),
        "few values": lambda: np.where(rng.random(x.shape) < 0.03, 1.0, 0.0),
    }
    x = np.asarray(made.get(modality.kind, lambda: x)(), dtype=float)
    special = modality.special
    if x.size and special != "none":
        i, j = rng.integers(n), rng.integers(d)
        if special == "half nan":
            x[rng.random(x.shape) < 0.5] = np.nan
        elif special in ("nan column", "nan row"):
            x[(slice(None), j) if special == "nan column" else i] = np.nan
        else:
            x[i, j] = {"one nan": np.nan, "inf": np.inf, "minus inf": -np.inf}[special]
    with np.errstate(all="ignore"):
        return x.astype(modality.dtype)


def stored(x: np.ndarray, store: str) -> Any:
    """The same values in some container."""
    if store == "columns first":
        return np.asfortranarray(x)
    if store == "masked":
        return np.ma.masked_array(x, mask=np.zeros(x.shape, dtype=bool))
    if store == "dask":
        return da.from_array(x, chunks=(7, -1))
    if store == "dask csr":
        return da.from_array(x, chunks=(7, -1)).map_blocks(sparse.csr_matrix)
    if store in ("csc", "coo", "csr"):
        return getattr(sparse, f"{store}_matrix")(x)
    if store == "csr array":
        return sparse.csr_array(x)
    if store in ("unsorted", "repeated", "explicit zeros"):
        return odd(sparse.csr_matrix(x), store)
    return x


def odd(f: sparse.csr_matrix, store: str) -> sparse.csr_matrix:
    """The same values, stored as no library would."""
    if store == "explicit zeros":
        full = sparse.csr_matrix(np.ones(f.shape, dtype=f.dtype))
        full.data[:] = f.toarray().ravel()
        return full
    indices, data = f.indices.copy(), f.data.copy()
    for i in range(f.shape[0]):
        part = slice(f.indptr[i], f.indptr[i + 1])
        indices[part], data[part] = indices[part][::-1], data[part][::-1]
    if store == "unsorted":
        return sparse.csr_matrix((data, indices, f.indptr), f.shape)
    zeros = np.zeros_like(data)
    twice = (np.stack([data, zeros], 1).ravel(), np.repeat(indices, 2), f.indptr * 2)
    return sparse.csr_matrix(twice, f.shape)


def labels(column: str, n: int, rng: np.random.Generator) -> Any:
    letters = rng.choice(list("ab"), n)
    return {
        "categorical": lambda: pd.Categorical(letters),
        "object": lambda: letters.astype(object),
        "mixed": lambda: np.array([letter if i % 2 else i % 3 for i, letter in enumerate(letters)], dtype=object),
        "nullable": lambda: pd.array([None if letter == "a" else 1 for letter in letters], dtype="Int64"),
        "bool": lambda: letters == "a",
        "floats": lambda: rng.normal(size=n),
        "missing": lambda: pd.Categorical(np.where(letters == "a", None, "b")),
        "one label": lambda: np.full(n, "a", dtype=object),
    }[column]()


def cells_of(which: str, n: int, i: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of the cells of the i-th modality, negative for cells of its own."""
    everyone = np.arange(n)
    return {
        "all": everyone,
        "most": np.flatnonzero(rng.random(n) < 0.8),
        "half": everyone[: (n + 1) // 2],
        "disjoint": -1 - everyone - 1000 * i,
        "one": everyone[:1],
        "none": everyone[:0],
        "shuffled": rng.permutation(everyone),
        "other order": everyone[::-1],
    }[which]


def cell_names(position: np.ndarray, names: str) -> Any:
    return {
        "text": lambda: [f"cell {k}" for k in position],
        "numbers": lambda: [str(k) for k in position],
        "repeated": lambda: [f"cell {k // 2}" for k in position],
        "nullable": lambda: pd.Index([f"cell {k}" for k in position], dtype="string"),
        "é/☃": lambda: [f"é/☃ {k}" for k in position],
        "blanks": lambda: [f" {k} " for k in position],
    }[names]()


def built(case: Case, folder: Path) -> MuData:
    """The MuData of a case."""
    rng = np.random.default_rng(case.seed)
    latent, mods = rng.normal(size=(case.n_cells, 2)), {}
    for i, modality in enumerate(case.modalities):
        position = cells_of(modality.cells, case.n_cells, i, rng)
        seen = latent[np.where(position < 0, (-1 - position) % 1000, position)]
        x = stored(values(modality, seen, rng), modality.store)
        obs = pd.DataFrame(index=cell_names(position, case.names))
        obs["label"] = labels(case.column, len(position), rng)
        var = pd.DataFrame(index=[f"{modality.name or 'm'} {j}" for j in range(modality.n_features)])
        is_layer = modality.store == "layer"
        adata = ad.AnnData(None if is_layer else x, obs=obs, var=var, layers={"counts": x} if is_layer else {})
        if modality.store == "backed":
            adata.write_h5ad(folder / f"{i}.h5ad")
            adata = ad.read_h5ad(folder / f"{i}.h5ad", backed="r")
        elif modality.store == "view":
            adata = adata[:, :]
        elif modality.store == "reversed view":
            adata = adata[::-1]
        mods[modality.name] = adata
    return MuData(mods)


def snapshot(value: Any) -> Any:
    """What a value is, to compare."""
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, pd.DataFrame):
        return {"index": list(map(str, value.index)), **{name: repr(list(value[name])) for name in value}}
    if isinstance(value, da.Array):
        return snapshot(value.compute())
    if sparse.issparse(value):
        coo = value.tocoo()
        return value.format, value.shape, coo.row.tobytes(), coo.col.tobytes(), coo.data.tobytes()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.ndarray):
        return repr(value.tolist())
    if hasattr(value, "shape") and hasattr(value, "__getitem__") and not isinstance(value, pd.Series):  # backed
        return snapshot(value[:])
    return repr(value)


def slots(mdata: MuData) -> dict[tuple[str, str, str], Any]:
    """All that a MuData holds, by modality, slot and key."""
    found: dict[tuple[str, str, str], Any] = {}
    for name, data in (("", mdata), *mdata.mod.items()):
        where = f"mod {name}" if data is not mdata else ""
        if where:
            found[where, "X", ""] = None if data.X is None else snapshot(data.X)
        for slot in ("obs", "var"):
            frame = getattr(data, slot)
            found[where, slot, ""] = list(map(str, frame.index))
            found |= {(where, slot, str(key)): repr(list(frame[key])) for key in frame}
        for slot in ("obsm", "varm", "obsp", "uns", *(("layers",) if where else ())):
            held = getattr(data, slot)
            found |= {(where, slot, str(key)): snapshot(held[key]) for key in held.keys()}  # noqa: SIM118
    return found


def numbers(mdata: MuData, where: str, slot: str, key: str) -> np.ndarray:
    """Values of a slot as numbers."""
    data = mdata if not where else mdata.mod[where.removeprefix("mod ")]
    value = getattr(data, slot)[key]
    value = value.data if sparse.issparse(value) else value
    return np.asarray(value, dtype=float)


def assert_written_well(mdata: MuData, before: dict, after: dict, call: str) -> None:
    """Only our slots changed, and what is in them is finite; layers of other cells are NaN by the row."""
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    for where, slot, key in changed:
        assert key.removeprefix("X_").startswith("jamie") or ":jamie" in key, f"{call} changed {where} {slot} {key}"
        if (where, slot, key) not in after:
            continue
        if (where, slot) == ("", "obsm"):  # NaN for cells that are in no modality of the model
            finite = np.isfinite(numbers(mdata, where, slot, key))
            assert (finite.all(axis=1) | ~finite.any(axis=1)).all(), f"{call}: not finite in {slot} {key}"
        elif slot in ("obsm", "obsp"):
            assert np.isfinite(numbers(mdata, where, slot, key)).all(), f"{call}: not finite in {slot} {key}"
        if slot == "layers":
            finite = np.isfinite(numbers(mdata, where, slot, key))
            assert (finite.all(axis=1) | ~finite.any(axis=1)).all(), f"{call}: not finite in {slot} {key}"


def first_and_last(mdata: MuData) -> tuple[str, str]:
    names = list(mdata.mod)
    return names[0], names[-1]


def with_two(call: Callable) -> Callable:
    """A call on a source and a target."""
    return lambda mdata, model: call(mdata, model, *first_and_last(mdata))


PP = {
    "split": lambda m, _: jm.pp.split(m, test_fraction=0.3),
    "split by label": lambda m, _: jm.pp.split(m, stratify="label"),
    "split by group": lambda m, _: jm.pp.split(m, group="label", test_fraction=0.5),
    "correspondence": lambda m, _: jm.pp.correspondence(m),
    "correspondence on": lambda m, _: jm.pp.correspondence(m, on="label"),
    "prepare": lambda m, _: jm.pp.prepare(m, n_comps=3),
    "prepare counts": lambda m, _: jm.pp.prepare(m, kinds=dict.fromkeys(m.mod, "counts"), n_comps=3),
    "prepare atac": lambda m, _: jm.pp.prepare(m, kinds=dict.fromkeys(m.mod, "accessibility"), n_comps=3),
    "prepare continuous": lambda m, _: jm.pp.prepare(m, kinds=dict.fromkeys(m.mod, "continuous"), max_value=None),
    "infer": lambda m, _: jm.pp.infer_correspondence(m, n_starts=2),
    "check": lambda m, _: jm.tl.check_correspondence(m, labels="label"),
}
TRAIN = {
    "train": lambda m, _: jm.tl.train(m, recipe=TINY, device="cpu"),
    "train a layer": lambda m, _: jm.tl.train(m, recipe=TINY, layer="counts", device="cpu"),
    "train paper": lambda m, _: jm.tl.train(m, recipe=PAPER, device="cpu"),
}
USE = {
    "embed": lambda m, model: jm.tl.embed(m, model),
    "embed a layer": lambda m, model: jm.tl.embed(m, model, layer="counts", key_added="jamie_2"),
    "impute": with_two(lambda m, model, a, b: jm.tl.impute(m, model, source=a, target=b)),
    "impute back": with_two(lambda m, model, a, b: jm.tl.impute(m, model, source=b, target=a)),
    "impute interval": with_two(
        lambda m, model, a, b: jm.tl.impute(m, model, source=a, target=b, interval=0.8, n_samples=1)
    ),
    "reconstruct": with_two(lambda m, model, a, b: jm.tl.reconstruct(m, model, modality=a)),
    "match": with_two(lambda m, model, a, b: (jm.tl.embed(m, model), jm.tl.match(m, source=a, target=b, n_keep=3))),
    "transfer": with_two(
        lambda m, model, a, b: (
            jm.tl.embed(m, model),
            jm.tl.transfer_labels(m, labels="label", source=a, target=b, n_neighbors=3),
        )
    ),
    "complete": lambda m, model: jm.tl.complete(m, model),
    "evaluate": lambda m, model: jm.tl.evaluate(m, model, baselines=("mean", "ridge")),
    "explain": with_two(
        lambda m, model, a, b: jm.tl.explain(m, model, source=a, target=b, n_cells=5, n_background=3)
    ),
    "knockout": with_two(lambda m, model, a, b: jm.tl.knockout(m, model, source=a, target=b, n_random=1)),
    "diagnose": lambda m, model: jm.tl.diagnose(m, model),
}  # fmt: skip
VERBS = {**PP, **TRAIN, **USE}


@pytest.fixture(autouse=True)
def _silent():
    """Nothing but errors is logged: a thousand cases say a lot."""
    before, jm.settings.verbosity = jm.settings.verbosity, "error"
    yield
    jm.settings.verbosity = before


@cache
def model_of(n_modalities: int) -> jm.JAMIE:
    """Trained once: of counts and numbers, and of regions; calibrated."""
    parts = tuple(Modality(name, "all", 12, kind, "float32", "dense", "none") for name, kind in KIND_OF.items())
    with TemporaryDirectory() as folder:
        mdata = quietly(built, Case(60, parts, "categorical", "text", 0, ()), Path(folder))
    return jm.tl.train(mdata, modalities=list(KIND_OF)[:n_modalities], recipe=TINY, device="cpu")


def quietly(make: Callable, *arguments: Any) -> Any:
    """What is made with the warnings of others, who are not asked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*arguments)


def is_written(mdata: MuData, path: Path) -> bool:
    """Whether a file takes it."""
    try:
        quietly(mdata.write, path)
    except (TypeError, ValueError, NotImplementedError, KeyError, OSError, RuntimeError):
        return False
    return True


def checked(case: Case, model: jm.JAMIE | None) -> None:
    """Make the calls of a case one after the other; a training gives its model to the next ones."""
    with TemporaryDirectory() as folder:
        try:
            mdata = quietly(built, case, Path(folder))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, AssertionError):
            assume(False)
        before = quietly(slots, mdata)
        fits_a_file = case.seed == 0 and is_written(mdata, Path(folder, "before.h5mu"))  # which takes a while
        for call in case.calls:
            if call in USE and model is None:  # the training was refused
                continue
            note(call)
            try:
                found = VERBS[call](mdata, model)
            except jm.JamieError as error:
                note(f"refused: {error}")
                after = quietly(slots, mdata)
                changed = [key for key in {*before, *after} if before.get(key) != after.get(key)]
                if call in ("match", "transfer"):  # which embed first
                    of_embed = ("X_jamie", "jamie_role", "jamie_novelty", "jamie_placed_by")
                    changed = [key for key in changed if not any(slot in key[2] for slot in of_embed)]
                assert not changed, f"{call} was refused and changed {changed}"
            else:
                after = quietly(slots, mdata)
                assert_written_well(mdata, before, after, call)
                model = found if call in TRAIN else model
            before = after
        if fits_a_file:
            assert is_written(mdata, Path(folder, "after.h5mu")), "no file takes what was added"


def options(n: int) -> Callable:
    return settings(
        max_examples=n,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )


def reads_and_trains(n: int) -> Callable:
    """Calls that read the MuData for the first time, and those that use what was trained on it."""

    @options(n)
    @given(case=cases((*PP, *TRAIN, *TRAIN, "train")), after=st.sampled_from(list(USE)))
    def check(case, after):
        checked(replace(case, calls=(*case.calls, after) if set(case.calls) & set(TRAIN) else case.calls), None)

    return check


def uses(n: int) -> Callable:
    """Calls on other cells with a model that was trained before."""

    @options(n)
    @given(case=cases(tuple(USE), ("rna", "protein", "atac", *NAMES[3:])), n_modalities=st.sampled_from((2, 3)))
    def check(case, n_modalities):
        checked(case, model_of(n_modalities))

    return check


test_any_mudata_is_trained_on_or_refused = reads_and_trains(80)
test_any_mudata_is_used_with_a_model_or_refused = uses(120)
test_any_of_800_is_trained_on_or_refused = pytest.mark.slow(reads_and_trains(800))
test_any_of_1200_is_used_with_a_model_or_refused = pytest.mark.slow(uses(1200))
