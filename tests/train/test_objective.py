from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA

from jamie.data import Batch, Draw, LinkedCells, Loader, ModalityView, Problem, stratified, with_partners
from jamie.data._loader import Inferred
from jamie.nn import ALL_CELLS, Contrast, JointVAE, Links, Outputs, SideBySide
from jamie.train import RECIPES, Target, objective
from jamie.train._objective import _paired_error, held_out_cells, held_out_error

RECIPE = replace(
    RECIPES["default"],
    kl=0.3,
    combination=0.7,
    reconstruction=1.1,
    cross=1.7,
    contrastive=0.9,
    alignment=1.3,
    inferred=0.6,
    temperature=0.4,
)
SIZES = {"a": 6, "b": 4, "c": 5}
WIDTHS = {"a": 3, "b": 2, "c": 4}
G = 2


def contrastive(x, y, links, temperature):
    return Contrast.between(x, y, temperature).loss(links)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def case(rng):
    """Outputs and batch of three modalities with random numbers in every place."""

    def draw(*shape):
        return torch.from_numpy(rng.normal(size=shape))

    def by_cell():
        return {name: draw(n, G) for name, n in SIZES.items()}

    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    known = {(a, b): Links.of(torch.from_numpy((rng.random((SIZES[a], SIZES[b])) < 0.3) * 0.5)) for a, b in pairs}
    crossed = {
        (a, b): (draw(SIZES[b], WIDTHS[b]), torch.from_numpy(rng.random(SIZES[b])))
        for a in SIZES
        for b in SIZES
        if a != b
    }
    outputs = Outputs(
        by_cell(), by_cell(), by_cell(), by_cell(), {m: draw(n, WIDTHS[m]) for m, n in SIZES.items()}, crossed
    )
    rows, first, second = (torch.tensor(index) for index in ([1, 4, 5], [0, 3, 3], [2, 3, 1]))
    block = torch.zeros(6, 4, dtype=torch.float64)
    for column in (first, second):
        block[rows, column] += 0.5
    batch = Batch(
        {m: draw(n, WIDTHS[m]) for m, n in SIZES.items()},
        {},
        known,
        {m: torch.from_numpy(rng.random(n)) for m, n in SIZES.items()},
        {("a", "b"): Inferred(rows, first, second, Links.of(block))},
    )
    targets = {name: Target(0.5 + i, None) for i, name in enumerate(SIZES)}
    return outputs, batch, targets


@pytest.mark.parametrize("weighted", [False, True])
def test_total_is_the_weighted_sum_of_terms_over_all_modalities(case, weighted):
    outputs, batch, targets = case
    batch = batch if weighted else batch._replace(weights=None)
    kappa = 0.6
    losses = objective(outputs, batch, targets, RECIPE, kappa)

    kl = moved = own = crossed = 0
    for m, n in SIZES.items():
        w = batch.weights[m].numpy() if weighted else np.ones(n)
        w /= w.sum()
        mean, v = outputs.mean[m].numpy(), outputs.log_variance[m].numpy()
        kl += w @ (-0.5 * (1 + v - mean**2 - np.exp(v))).mean(1)
        moved += w @ ((outputs.latent[m] - outputs.aggregated[m]) ** 2).mean(1).numpy()
        own += w @ ((outputs.decoded[m] - batch.inputs[m]) ** 2).mean(1).numpy() / targets[m].variance
    for (_, b), (decoded, sure) in outputs.crossed.items():
        error = ((decoded - batch.inputs[b]) ** 2).mean(1).numpy()
        crossed += (error * sure.numpy()).mean() / targets[b].variance
    paired = sum(contrastive(outputs.mean[a], outputs.mean[b], f, 0.4).item() for (a, b), f in batch.known.items())
    guessed = batch.inferred["a", "b"].links
    paired += 0.6 * contrastive(outputs.mean["a"], outputs.mean["b"], guessed, 0.4).item()
    m = {name: z.numpy() for name, z in outputs.aggregated.items()}
    apart = [(m["a"][i] - m["b"][j]) @ (m["a"][i] - m["b"][k]) / G for i, j, k in [(1, 0, 2), (4, 3, 3), (5, 3, 1)]]
    aligned = np.average(apart, weights=batch.weights["a"].numpy()[[1, 4, 5]] if weighted else None)

    assert_allclose([term.item() for term in losses[1:]], [kl, moved, own, crossed, paired, aligned], rtol=1e-6)
    total = 0.3 * kappa * kl + 0.7 * moved + 1.1 * own + 1.7 * crossed + 0.9 * paired + 1.3 * aligned
    assert losses.total.item() == pytest.approx(total)


def training(problem):
    return {name: view.train for name, view in problem.modalities.items()}


def test_cells_without_a_partner_do_not_thin_out_the_error_of_those_with_one(case):
    outputs, batch, targets = case
    decoded, _ = outputs.crossed["a", "b"]
    sure = torch.tensor([0.5, 0.0, 1.0, 0.0], dtype=torch.float64)
    crossed = {("a", "b"): (decoded, sure)}
    error = (decoded - batch.inputs["b"]).square().mean(1) / targets["b"].variance
    found = objective(outputs._replace(crossed=crossed), batch, targets, RECIPE, 1.0).cross
    assert found.item() == pytest.approx((0.5 * error[0] + error[2]).item() / 2)
    crossed = {("a", "b"): (decoded, torch.tensor([0.0, 0.0, 0.4, 0.0], dtype=torch.float64))}
    found = objective(outputs._replace(crossed=crossed), batch, targets, RECIPE, 1.0).cross
    assert found.item() == pytest.approx(0.4 * error[2].item())


def test_each_block_of_a_batch_is_contrasted_by_itself(case):
    outputs, batch, targets = case
    f = torch.zeros(6, 4, dtype=torch.float64)
    f[[0, 2, 4], [0, 1, 3]] = torch.tensor(
        [1, 0.5, 1], dtype=torch.float64
    )  # cells 0 to 2 with 0 and 1, 3 to 5 with 2 and 3
    batch = batch._replace(known={("a", "b"): Links.of(f)}, inferred={}, n_blocks=2)
    a, b = outputs.mean["a"], outputs.mean["b"]
    blocks = [contrastive(a[:3], b[:2], Links.of(f[:3, :2]), 0.4), contrastive(a[3:], b[2:], Links.of(f[3:, 2:]), 0.4)]
    expected = (2 * blocks[0] + blocks[1]).item() / 3  # a mean over the three cells with a partner
    assert objective(outputs, batch, targets, RECIPE, 1.0).contrastive.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", SIZES)
def test_kl_holds_both_heads_of_every_modality(case, name):
    outputs, batch, targets = case
    for part in (outputs.mean, outputs.log_variance):
        part[name].requires_grad_()
    objective(outputs, batch._replace(weights=None), targets, RECIPE, 1.0).kl.backward()
    n = SIZES[name]
    assert_allclose(outputs.mean[name].grad, outputs.mean[name].detach() / (n * G))
    assert_allclose(outputs.log_variance[name].grad, (outputs.log_variance[name].detach().exp() - 1) / (2 * n * G))


def test_the_papers_total_has_the_papers_terms_only(case):
    outputs, batch, targets = case
    losses = objective(outputs, batch, targets, RECIPES["paper"], 1.0)
    expected = 0.032 * losses.kl + 32 * losses.combination + losses.reconstruction + losses.alignment
    assert losses.alignment != 0
    assert losses.cross.item() != losses.contrastive.item() == 0
    assert losses.total.item() == pytest.approx(expected.item())


def test_a_batch_without_pairs_has_no_paired_terms(case):
    outputs, batch, targets = case
    losses = objective(outputs._replace(crossed={}), batch._replace(known={}, inferred={}), targets, RECIPE, 1.0)
    assert losses.cross.item() == losses.contrastive.item() == losses.alignment.item() == 0
    assert torch.isfinite(losses.total)


def test_every_pair_counts_not_only_the_first_two(case):
    outputs, batch, targets = case
    f = torch.zeros(6, 4, dtype=torch.float64)
    f[[0, 1, 2, 3], [0, 1, 2, 3]] = 1
    mean = outputs.mean["b"].requires_grad_()
    objective(
        outputs, batch._replace(known={("a", "b"): Links.of(f)}, inferred={}), targets, RECIPE, 0.0
    ).contrastive.backward()
    assert (mean.grad.abs().sum(1) > 1e-6).all()


def test_error_on_components_is_that_on_features_up_to_a_factor_and_a_constant(rng):
    n, d, k, scale = 40, 7, 3, 2.5
    x = rng.normal(size=(n, 4)) @ rng.normal(size=(4, d))
    x = (x - x.mean(0)) / x.std(0)
    pca = PCA(k).fit(x)
    variance = pca.explained_variance_.mean()
    inputs = torch.from_numpy(pca.transform(x) / scale)
    project = torch.from_numpy(pca.components_ * scale)
    batch = Batch({"x": inputs}, {"x": torch.from_numpy(x)}, {})
    decoded = torch.from_numpy(rng.normal(size=(n, k))).requires_grad_()
    flat = {"x": torch.zeros(n, 1, dtype=torch.float64)}

    def error(project):
        outputs = Outputs(flat, flat, flat, flat, {"x": decoded}, {})
        loss = objective(outputs, batch, {"x": Target(variance / scale**2, project)}, RECIPE, 0.0).reconstruction
        return loss, torch.autograd.grad(loss, decoded)[0]

    on_components, gradient_on_components = error(None)
    on_features, gradient_on_features = error(project)
    factor = d / (k * variance)
    assert_allclose(gradient_on_components, factor * gradient_on_features)
    beyond = ((x - pca.inverse_transform(pca.transform(x))) ** 2).mean()
    assert on_components.item() == pytest.approx(factor * (on_features.item() - beyond))


def test_missing_values_do_not_count(rng):
    values = torch.from_numpy(rng.normal(size=(5, 4)))
    values[1, 2] = torch.nan
    flat = {"x": torch.zeros(5, 1, dtype=torch.float64)}
    decoded, project = (torch.from_numpy(rng.normal(size=shape)) for shape in ((5, 3), (3, 4)))
    batch = Batch({"x": torch.zeros(5, 3)}, {"x": values}, {})
    losses = objective(
        Outputs(flat, flat, flat, flat, {"x": decoded}, {}), batch, {"x": Target(9.0, project)}, RECIPE, 0
    )
    assert losses.reconstruction.item() == pytest.approx(np.nanmean((decoded @ project - values).numpy() ** 2))


def test_gradient_of_the_total_reaches_every_parameter():
    torch.manual_seed(0)
    network = JointVAE(WIDTHS, n_latent=G, hidden=dict.fromkeys(WIDTHS, (6, 5)), norm=RECIPE.norm, dropout=0.0)
    inputs = {name: torch.randn(5, d) for name, d in WIDTHS.items()}
    known = {pair: Links.of(torch.eye(5)) for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    outputs = network(inputs, known, crossed=True)
    targets = dict.fromkeys(WIDTHS, Target(1.0, None))
    objective(outputs, Batch(inputs, {}, known), targets, RECIPE, 1.0).total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("confidence", [0.5, 0.2])
def test_pairs_pull_by_as_much_as_they_are_sure(rng, confidence, values):
    torch.manual_seed(0)
    network = JointVAE({"a": 3, "b": 2}, n_latent=G, hidden={"a": (6,), "b": (5,)}, norm="layer", dropout=0.0).double()
    inputs = {name: torch.from_numpy(rng.normal(size=(5, WIDTHS[name]))) for name in "ab"}
    f = torch.eye(5, dtype=torch.float64)
    f[4] = 0
    project = torch.from_numpy(rng.normal(size=(2, 4))) if values else None
    measured = torch.from_numpy(rng.normal(size=(5, 4)))
    measured[[0, 2, 4], [1, 3, 0]] = torch.nan
    targets = {"a": Target(1.0, None), "b": Target(1.0, project)}

    def gradients(sure):
        known = {("a", "b"): Links.of(sure * f)}
        batch = Batch(inputs, {"b": measured} if values else {}, known)
        outputs = network.eval()(inputs, known, crossed=True)
        losses = objective(outputs, batch, targets, RECIPE, 1.0)
        return [
            torch.cat([g.ravel() for g in torch.autograd.grad(loss, list(network.parameters()), **OPTIONS)])
            for loss in (losses.contrastive, _paired_error(outputs, batch, ("a", "b"), targets), losses.cross)
        ]

    for sure, unsure in zip(gradients(1.0), gradients(confidence), strict=True):
        assert sure.abs().max() > 0.01
        torch.testing.assert_close(unsure, confidence * sure, rtol=1e-9, atol=1e-12)


def partly_paired(rng, n_networks):
    """Batches of cells of which some are paired, some have no weight, and some miss values, and their networks."""
    sizes = {"a": 60, "b": 50}
    f = sparse.random(60, 50, density=0.01, format="csr", dtype=np.float32, rng=rng)
    problem = small_problem(rng, {("a", "b"): f.toarray()}, {}, sizes)
    draws = []
    for _ in range(n_networks):
        cells = {name: rng.permutation(n)[:40] for name, n in sizes.items()}
        weights = {name: rng.random(40) * (rng.random(40) < 0.6) for name in sizes}
        draws.append(Draw(cells, weights, {}))
    batch = Loader(problem, dict.fromkeys(sizes, 1.0), torch.device("cpu"))(draws)
    measured = torch.randn(*batch.inputs["b"].shape[:-1], 4)
    measured[..., ::3, 1] = torch.nan
    widths = {name: x.shape[-1] for name, x in batch.inputs.items()}
    networks = [
        JointVAE(widths, n_latent=G, hidden=dict.fromkeys(widths, (6,)), norm="layer", dropout=0.0)
        for _ in range(n_networks)
    ]
    targets = {"a": Target(1.0, None), "b": Target(1.0, torch.randn(widths["b"], 4))}
    return batch._replace(values={"b": measured}), networks[0] if n_networks == 1 else SideBySide(networks), targets


@pytest.mark.parametrize("n_networks", [1, 3])
def test_cells_that_are_not_decoded_would_have_changed_nothing(rng, n_networks):
    torch.manual_seed(0)
    batch, network, targets = partly_paired(rng, n_networks)
    assert batch.compared.own.keys() == {"a", "b"}
    assert batch.compared.crossed.keys() == {("a", "b"), ("b", "a")}

    def found(batch):
        outputs = network.eval()(batch.inputs, batch.known, crossed=True, compared=batch.compared)
        losses = objective(outputs, batch, targets, RECIPE, 1.0)
        slopes = torch.autograd.grad(losses.total.sum(), list(network.parameters()))
        return [outputs.decoded["b"].shape[-2], *losses, *slopes]

    n_few, *few = found(batch)
    n_all, *everything = found(batch._replace(compared=ALL_CELLS))
    assert n_few < n_all
    for one, other in zip(few, everything, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_networks", [1, 3])
def test_held_out_errors_are_those_of_all_cells_decoded(rng, n_networks):
    """Networks that are scored see the same cells."""
    torch.manual_seed(0)
    batch, network, targets = partly_paired(rng, 1)
    if n_networks > 1:
        network = SideBySide([network] * n_networks)
        wide = {"inputs": batch.inputs, "values": batch.values, "weights": batch.weights}
        wide = {k: {name: torch.stack([x] * n_networks) for name, x in v.items()} for k, v in wide.items()}
        (a, b), links = ("a", "b"), batch.known["a", "b"]
        offsets = torch.arange(n_networks).repeat_interleave(len(links.rows))
        rows, columns = (x.repeat(n_networks) + 40 * offsets for x in (links.rows, links.columns))
        known = {(a, b): Links(rows, columns, links.confidence.repeat(n_networks), (40 * n_networks, 40 * n_networks))}
        crossed = {
            pair: (cells + 40 * torch.arange(n_networks)[:, None]).flatten()
            for pair, cells in batch.compared.crossed.items()
        }
        batch = batch._replace(**wide, known=known, compared=batch.compared._replace(crossed=crossed, own={}))

    def found(batch):
        outputs = network.eval()(batch.inputs, batch.known, crossed=True, compared=batch.compared)
        return held_out_error(outputs, batch, targets), held_out_cells(outputs, batch, targets)

    (few, few_cells), (everything, all_cells) = found(batch), found(batch._replace(compared=ALL_CELLS))
    assert few > 0.01
    torch.testing.assert_close(few, everything, rtol=1e-4, atol=1e-6)
    for one, other in zip(few_cells, all_cells, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


OPTIONS = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}


def small_problem(rng, known, inferred, sizes):
    """Cells of random inputs; means of the pairs' components differ, so that drawing them more often is seen."""
    paired = {name: np.zeros(n, dtype=bool) for name, n in sizes.items()}
    for pair, f in known.items():
        for name, axis in zip(pair, (1, 0), strict=True):
            paired[name] |= f.any(axis)
    views = {}
    for name, n in sizes.items():
        inputs = rng.normal(size=(n, WIDTHS[name])) + 2.0 * paired[name][:, None]
        views[name] = ModalityView(
            name, pd.RangeIndex(n), inputs.astype(np.float32), None, np.ones(n, dtype=bool), None
        )
    csr = [{pair: sparse.csr_matrix(f, dtype=np.float32) for pair, f in some.items()} for some in (known, inferred)]
    return Problem(views, *csr)


def random_rows(rng, n_rows, columns, k=4):
    """Rows of `k` probabilities in some of the columns."""
    f = np.zeros((n_rows, len(columns)))
    for row in f:
        row[rng.choice(np.flatnonzero(columns), k, replace=False)] = rng.random(k)
    return f / f.sum(1, keepdims=True)


@torch.no_grad()
@pytest.mark.parametrize("three", [False, True])
def test_the_mean_loss_of_batches_is_that_of_all_cells(rng, three):
    sizes = {"a": 30, "b": 40, "c": 20} if three else {"a": 30, "b": 40}
    known = {("a", "b"): np.zeros((30, 40))}
    known["a", "b"][np.arange(8), np.arange(8) + 5] = np.linspace(0.3, 1, 8)
    if three:
        known["a", "c"], known["b", "c"] = np.zeros((30, 20)), np.zeros((40, 20))
        known["a", "c"][[10, 11], [3, 4]] = 1
    alone_b = ~known["a", "b"].any(0)  # a guest comes without its own partner: its aggregate is its latent
    inferred = {("a", "b"): random_rows(rng, 30, alone_b)}
    problem = small_problem(rng, known, inferred, sizes)
    units = LinkedCells.of(problem)
    torch.manual_seed(0)
    widths = {name: WIDTHS[name] for name in sizes}
    network = JointVAE(widths, n_latent=G, hidden=dict.fromkeys(sizes, (6,)), norm="layer", dropout=0.5).eval()
    targets = {name: Target(1.0 + i, None) for i, name in enumerate(sizes)}
    load = Loader(problem, dict.fromkeys(sizes, 1.3), torch.device("cpu"))

    def losses(draw):
        batch = load([draw])
        return objective(
            network(batch.inputs, batch.correspondence(1.0), compared=batch.compared), batch, targets, RECIPE, 1.0
        )

    whole = Draw({name: np.arange(n) for name, n in sizes.items()}, None, {})
    outputs = network(load([whole]).inputs, load([whole]).known)
    m = {name: z.double().numpy() for name, z in outputs.aggregated.items()}
    asking = ~known["a", "b"].any(1)
    equation_9 = np.square(m["a"] - inferred["a", "b"] @ m["b"])[asking].mean()
    full = losses(whole)
    expected = [full.kl.item(), full.combination.item(), full.reconstruction.item(), equation_9]

    draws = with_partners(
        stratified(units, np.arange(len(units)), size=15, least_paired=0.4, rng=rng),
        problem,
        training(problem),
        rng=rng,
    )
    found = []
    for draw in islice(draws, 600):
        part = losses(draw)
        found.append([part.kl.item(), part.combination.item(), part.reconstruction.item(), part.alignment.item()])
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (error < 0.03 * np.array(expected)).all()
    assert (abs(np.mean(found, axis=0) - expected) < 4 * error).all()


def test_guests_are_only_ever_the_partner(rng):
    """They send no gradient by the terms of single cells, and change no term of the others."""
    known, inferred = {("a", "b"): np.zeros((4, 5))}, {("a", "b"): np.eye(4, 5)}
    problem = small_problem(rng, known, inferred, {"a": 4, "b": 5})
    load = Loader(problem, {"a": 1.0, "b": 1.0}, torch.device("cpu"))
    alone = Draw({"a": np.array([0, 1]), "b": np.array([4])}, None, {})
    (joined,) = with_partners(iter([alone]), problem, training(problem), rng=rng)
    assert_array_equal(joined.cells["b"], [4, 0, 1])
    torch.manual_seed(0)
    network = JointVAE({"a": 3, "b": 2}, n_latent=G, hidden={"a": (6,), "b": (5,)}, norm="layer", dropout=0.0).eval()
    targets = dict.fromkeys("ab", Target(1.0, None))
    terms = {}
    for key, draw in (("alone", alone), ("joined", joined)):
        batch = load([draw])
        for x in batch.inputs.values():
            x.requires_grad_()
        losses = objective(
            network(batch.inputs, batch.correspondence(1.0), compared=batch.compared), batch, targets, RECIPE, 1.0
        )
        terms[key] = losses.kl, losses.combination, losses.reconstruction
        (gradient,) = torch.autograd.grad(sum(terms[key]), batch.inputs["b"], retain_graph=True)
        assert gradient[0].any()
        assert not gradient[1:].any()
        if key == "joined":
            (gradient,) = torch.autograd.grad(losses.alignment, batch.inputs["b"])
            assert not gradient[0].any()
            assert gradient[1:].any(1).all()
    torch.testing.assert_close(terms["joined"], terms["alone"])


@pytest.mark.parametrize("n_networks", [None, 3])
def test_the_held_out_error_of_networks_is_that_of_their_mean(n_networks):
    """Cell by cell in numpy: squares of what is off, in units of the variance, of the cells with a partner."""
    rng, alone = np.random.default_rng(0), () if n_networks is None else (n_networks,)
    measured = {"a": rng.normal(size=(4, 2)), "b": rng.normal(size=(5, 3))}
    confidence = {("a", "b"): np.array([1, 0, 0.5, 1, 0]), ("b", "a"): np.array([1, 0.5, 0, 1])}
    decoded = {pair: rng.normal(size=(*alone, *measured[pair[1]].shape)) for pair in confidence}
    of_all = [torch.from_numpy(np.broadcast_to(x, (*alone, *x.shape)).copy()) for x in measured.values()]
    crossed = {
        pair: (torch.from_numpy(x), torch.from_numpy(np.broadcast_to(confidence[pair], (*alone, x.shape[-2])).copy()))
        for pair, x in decoded.items()
    }
    outputs = Outputs({}, {}, {}, {}, {}, crossed)
    batch = Batch(dict(zip("ab", of_all, strict=True)), {}, {})
    targets = {"a": Target(0.5, None), "b": Target(2.0, None)}
    expected = []
    for (a, b), c in confidence.items():
        mean = decoded[a, b] if n_networks is None else decoded[a, b].mean(0)
        errors = c * np.square(mean - measured[b]).mean(1) / targets[b].variance
        expected.append(errors[c > 0])
    found = held_out_cells(outputs, batch, targets)
    assert len(found) == 2
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other)
    error = held_out_error(outputs, batch, targets)
    assert error.item() == pytest.approx(sum(one.mean() for one in expected))
