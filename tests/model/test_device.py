"""Where torch runs, and that the caller finds it as it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

import jamie as jm
from jamie._errors import InvalidValueError, WrongTypeError
from jamie.model import _device
from jamie.model._device import isolated, on_threads, resolve_device, seeded
from jamie.nn._dropout import Dropout


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that the machine has so many GPUs."""

    def pretend(n):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)

    pretend(0)
    return pretend


def test_auto_asks_the_settings_then_the_machine(monkeypatch, gpus):
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(jm.settings, "device", "cpu")
    gpus(1)
    assert resolve_device("auto") == torch.device("cpu")
    assert resolve_device("cuda") == torch.device("cuda")
    monkeypatch.setattr(jm.settings, "device", "auto")
    for n, expected in ((0, torch.device("cpu")), (1, torch.device("cuda:0"))):
        gpus(n)
        assert resolve_device("auto") == expected


def test_each_process_has_a_gpu_of_its_own(monkeypatch, gpus):
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device("auto") == torch.device("cuda:0")  # left by somebody else
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert resolve_device("auto") == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InvalidValueError, match=r"found 2 and process 2, .*; start 2 processes or fewer, or pass"):
        resolve_device("auto")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", [torch.device("cpu"), "cpu:0", torch.device("cpu", 0), np.str_("cpu")])
def test_devices_of_torch_are_taken(device):
    assert resolve_device(device) == torch.device("cpu")


@pytest.mark.parametrize(
    "device", ["cuda", "cuda:1", "mps", "mps:0", "xpu", "xla", "meta", "gpu", "gpu0", "cuda:x", "cpu:1", "CPU", ""]
)
@pytest.mark.parametrize("of_torch", [False, True])
def test_a_device_that_is_not_there_is_said_with_those_that_are(monkeypatch, gpus, device, of_torch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    if of_torch:
        try:
            device = torch.device(device)
        except RuntimeError:
            pytest.skip("no device of torch either")
    with pytest.raises(InvalidValueError) as caught:
        resolve_device(device)
    expected = "expected `device` to be one of what this machine has, ['auto', 'cpu'], found "
    assert str(caught.value) == f"{expected}{str(device)!r}; pass device='auto'"


@pytest.mark.parametrize("device", ["cuda:2", "cuda:99", torch.device("cuda", 7)])
def test_a_gpu_beyond_those_of_the_machine_is_said(gpus, device):
    gpus(2)
    with pytest.raises(InvalidValueError, match=rf"\['auto', 'cpu', 'cuda:0', 'cuda:1'\], found '{device}'"):
        resolve_device(device)


@pytest.mark.parametrize(
    ("device", "remedy"),
    [(None, "auto"), (-1, "auto"), (0, "cuda:0"), (3, "cuda:3"), (True, "auto"), (["cpu"], "auto"), (1.0, "auto")],
)
def test_what_is_no_device_is_said(device, remedy):
    with pytest.raises(WrongTypeError, match=rf"`device` to be text or a torch\.device, .*; pass device='{remedy}'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cuda:99", None, torch.device("meta")])
def test_training_and_loading_refuse_a_device_alike(toy, tmp_path, device):
    jm.JAMIE(max_steps=1).fit(toy).save(tmp_path / "m.jamie")
    for call in (
        lambda: jm.tl.train(toy, max_steps=1, device=device),
        lambda: jm.JAMIE.load(tmp_path / "m.jamie", device=device),
    ):
        with pytest.raises(jm.JamieError, match="expected `device` to be"):
            call()
    assert jm.JAMIE.load(tmp_path / "m.jamie", device=torch.device("cpu")).embed(toy)


@contextmanager
def switched(switch, value, before):
    switch(value)
    try:
        yield
    finally:
        switch(before)


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "grad switched off": lambda: switched(torch.set_grad_enabled, False, True),
    "autocast bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", torch.float16),
    "device meta": lambda: torch.device("meta"),
    "default device meta": lambda: switched(torch.set_default_device, "meta", None),
    "double by default": lambda: switched(torch.set_default_dtype, torch.float64, torch.float32),
    "half by default": lambda: switched(torch.set_default_dtype, torch.float16, torch.float32),
    "deterministic": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "low precision": lambda: switched(torch.set_float32_matmul_precision, "medium", "highest"),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
}


@contextmanager
def all_of_them():
    with ExitStack() as stack:
        for context in CONTEXTS.values():
            stack.enter_context(context())
        yield


def state():
    """What the contexts switch."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.get_default_device(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.is_anomaly_enabled(),
        torch.get_rng_state().tolist(),
    )


def work(folder):
    """Train, keep, load, infer and explain: numbers of each."""
    mdata = jm.datasets.toy()
    model = jm.tl.train(mdata, max_steps=5, rng=0)
    model.save(folder / "m.jamie")
    loaded = jm.JAMIE.load(folder / "m.jamie")
    jm.tl.explain(mdata, loaded, source="rna", target="protein", features=["protein3"], n_cells=3, n_background=4)
    return {
        **{f"latent {name}": latent for name, latent in loaded.embed(mdata).items()},
        **{f"weights {name}": value.numpy() for name, value in model.network_.state_dict().items()},
        "history": model.history_.to_numpy(),
        "imputed": loaded.impute(mdata, source="rna", target="protein"),
        "aggregated": model.aggregate(model.embed(mdata), {("rna", "protein"): sparse.eye(54, format="csr")})["rna"],
        "explained": jm.get.explanation(mdata, source="rna", target="protein")["mean_abs_shap"].to_numpy(),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return work(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("context", [*CONTEXTS.values(), all_of_them], ids=[*CONTEXTS, "all of them"])
def test_what_the_caller_has_switched_on_changes_no_bit_and_stays_as_it_was(undisturbed, context, tmp_path):
    outside = state()
    with context():
        before = state()
        results = work(tmp_path)
        assert state() == before
        with pytest.raises(ValueError, match="at least two modalities"):
            jm.tl.train(jm.datasets.toy(), modalities=["rna"])
        assert state() == before
    assert state() == outside
    assert results.keys() == undisturbed.keys()
    for name, expected in undisturbed.items():
        assert results[name].dtype == expected.dtype
        assert_array_equal(results[name], expected, err_msg=name)


def test_products_are_in_full_precision_whatever_the_hardware_offers():
    with CONTEXTS["low precision"]():
        with isolated():
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize("context", [torch.inference_mode, all_of_them])
def test_a_model_made_in_a_context_can_be_trained_outside(context):
    mdata = jm.datasets.toy()
    with context():
        model = jm.JAMIE(max_steps=2).fit(mdata)
    assert all(p.requires_grad and not p.is_inference() for p in model.network_.parameters())
    assert {p.device.type for p in model.network_.parameters()} == {"cpu"}
    sum(p.sum() for p in model.network_.parameters()).backward()


@pytest.mark.parametrize("compiled", [False, True])
def test_the_seed_comes_from_the_generator_and_the_state_is_given_back(monkeypatch, compiled):
    monkeypatch.setattr(jm.settings, "compile", compiled)
    before, drawn = torch.get_rng_state(), []
    for seed in (0, 0, 1):
        with seeded(np.random.default_rng(seed), torch.device("cpu")) as generator:
            drawn.append((torch.rand(3, generator=generator), Dropout(0.5)(torch.ones(100))))
    for first, same, other in zip(*drawn, strict=True):
        assert torch.equal(first, same)
        assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def latents(seed):
    mdata = jm.datasets.toy()
    return jm.JAMIE(max_steps=20, rng=seed).fit(mdata).embed(mdata)["rna"]


def test_trainings_in_threads_give_what_they_give_alone():
    alone = [latents(seed) for seed in (0, 1, 0)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(latents, (0, 1, 0)))
    for one, other in zip(alone, together, strict=True):
        assert_array_equal(one, other)


def test_what_other_threads_draw_changes_nothing():
    alone, stop = latents(0), threading.Event()

    def draw():
        while not stop.is_set():
            torch.manual_seed(7)
            torch.rand(10)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        assert_array_equal(latents(0), alone)
    finally:
        stop.set()
        thread.join()


def test_the_last_thread_that_leaves_gives_the_default_dtype_back():
    inside, leave, found = threading.Event(), threading.Event(), []

    @isolated()
    def first():
        inside.set()
        leave.wait(10)

    @isolated()
    def second():
        leave.set()
        thread.join()
        found.append(torch.get_default_dtype())

    with CONTEXTS["double by default"]():
        thread = threading.Thread(target=first)
        thread.start()
        inside.wait(10)
        second()
        assert torch.get_default_dtype() == torch.float64
    assert found == [torch.float32]


@pytest.mark.parametrize(
    "variables", [{"RANK": "3"}, {"RANK": "x", "LOCAL_RANK": "5"}, {"RANK": "1", "WORLD_SIZE": "1"}]
)
def test_a_rank_that_somebody_left_changes_nothing(monkeypatch, tmp_path, toy, capsys, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    expected = latents(0)
    jm.settings.verbosity = "info"
    model = jm.tl.train(toy, max_steps=20, rng=0)
    assert "trained in" in capsys.readouterr().err
    model.save(tmp_path / "m.jamie")
    assert_array_equal(jm.JAMIE.load(tmp_path / "m.jamie").embed(toy)["rna"], expected)
    jm.tl.impute(toy, model, source="rna", target="protein", out=tmp_path / "x.h5ad")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.jamie", "x.h5ad"]


@pytest.mark.parametrize("n", [0, 1, 7, 8, 17])
def test_rows_come_back_as_if_computed_at_once(monkeypatch, n):
    monkeypatch.setattr(_device, "ROWS", 7)
    given, weights = np.arange(3 * n, dtype=np.float32).reshape(n, 3), torch.tensor([[1.0], [2], [3]])
    blocks = []

    def then(found, rows):
        blocks.append(len(found))
        return found + given[rows, :1]

    found = _device.by_rows(given, lambda x: x @ weights, torch.device("cpu"), then=then)
    assert_array_equal(found, given @ weights.numpy() + given[:, :1])
    assert max(blocks) <= 7
    assert sum(blocks) == n


def test_a_sparse_tensor_is_the_same_matrix():
    f = sparse.random(5, 4, density=0.4, format="csr", rng=np.random.default_rng(0))
    assert_array_equal(_device.to_torch(f).to_dense().numpy(), f.toarray().astype(np.float32))


def test_threads_are_as_set_and_given_back_after_an_error(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(jm.settings, "n_threads", before + 1)
    with pytest.raises(RuntimeError, match=f"on {before + 1} threads"), on_threads(64):
        raise RuntimeError(f"on {torch.get_num_threads()} threads")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("widest", "n_threads"), [(256, 1), (512, 1), (1024, 3)])
def test_small_networks_get_one_thread_unless_the_settings_say_otherwise(widest, n_threads):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with on_threads(widest):
            assert torch.get_num_threads() == n_threads
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_training_in_bfloat16_is_the_same_under_the_callers_autocast(monkeypatch):
    """Cast weights must not be kept: the next step has others, and only the caller would clear what is kept."""
    monkeypatch.setattr("jamie.model._device.has_fast_bfloat16", lambda _: True)
    recipe = replace(jm.recipes["default"], hidden=(640,), kernel_mix=False, max_steps=3, cycles=1)
    plain = jm.tl.train(jm.datasets.toy(n_cells=24), recipe=recipe)
    with torch.autocast("cpu", torch.bfloat16):
        inside = jm.tl.train(jm.datasets.toy(n_cells=24), recipe=recipe)
    for a, b in zip(plain.arrays(), inside.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)
