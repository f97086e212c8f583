from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from jamie.data import Batch
from jamie.nn import JointVAE, Outputs
from jamie.train import RECIPES, Target, fit, objective
from jamie.train._trainer import held_out_error

SIZES = {"a": 4, "b": 3}
TARGETS = dict.fromkeys(SIZES, Target(1.0, None))
RECIPE = replace(RECIPES["default"], hidden=(8,), n_latent=2, max_steps=200, min_steps=20, dropout=0.0)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Watched:
    """A network, batches of paired cells, and the network's weights before each step."""

    def __init__(self, recipe, *, interrupt_at=None):
        hidden = {name: recipe.hidden_for(d) for name, d in SIZES.items()}
        self.recipe, self.interrupt_at, self.states = recipe, interrupt_at, []
        self.network = JointVAE(
            SIZES, n_latent=recipe.n_latent, hidden=hidden, style=recipe.style, dropout=recipe.dropout
        )
        latent, mix = torch.randn(60, 2), {name: torch.randn(2, d) for name, d in SIZES.items()}
        self.inputs = {name: latent @ mix[name] + 0.1 * torch.randn(60, d) for name, d in SIZES.items()}
        self.validation = self.batch(np.arange(40, 60))

    def batch(self, rows):
        return Batch(
            {name: x[torch.from_numpy(rows)] for name, x in self.inputs.items()}, {}, {("a", "b"): torch.eye(len(rows))}
        )

    def load(self, cells):
        self.states.append({name: value.clone() for name, value in self.network.state_dict().items()})
        if len(self.states) - 1 == self.interrupt_at:
            raise KeyboardInterrupt
        return self.batch(cells["a"])

    def fit(self, *, validated=True, steps_per_epoch=2):
        rng = np.random.default_rng(0)
        self.fitted = fit(
            self.network,
            ({"a": rng.permutation(40)[:20]} for _ in count()),
            self.load,
            TARGETS,
            self.recipe,
            steps_per_epoch=steps_per_epoch,
            validation=self.validation if validated else None,
        )
        return self.fitted, self.fitted.history.frame()

    def assert_restored(self, step):
        for name, value in self.network.state_dict().items():
            assert torch.equal(value, self.states[step][name]), name


@pytest.mark.parametrize("style", ["layer", "batch"])
def test_best_weights_on_held_out_pairs_are_restored(style):
    watched = Watched(replace(RECIPE, style=style, learning_rate=0.1, schedule="constant"))
    fitted, history = watched.fit()
    best = history["score"].argmin()
    assert best < len(history) - 1  # it did get worse
    assert fitted.best_step == history["step"][best]
    watched.assert_restored(fitted.best_step)
    assert not watched.network.training
    assert held_out_error(watched.network, watched.validation, TARGETS, watched.recipe) == history["score"].min()


def test_training_learns():
    watched = Watched(replace(RECIPE, max_steps=400, learning_rate=0.01, weight_decay=0.0))
    _, history = watched.fit()
    assert history["score"].iloc[0] > 0.5
    assert history["score"].min() < 0.3


def test_best_epoch_by_training_loss_is_restored():
    watched = Watched(replace(RECIPE, learning_rate=0.2, schedule="constant", max_steps=60))
    fitted, history = watched.fit(validated=False, steps_per_epoch=4)
    assert history["step"].tolist() == list(range(4, 61, 4))
    best = history["score"].argmin()
    assert best < len(history) - 1
    assert fitted.best_step == history["step"][best]
    watched.assert_restored(fitted.best_step)


def test_the_score_of_an_epoch_is_the_mean_loss_of_its_steps():
    watched = Watched(replace(RECIPE, max_steps=3, kl=0.0))
    _, every_step = watched.fit(validated=False, steps_per_epoch=1)
    assert every_step["score"].to_numpy() == pytest.approx(every_step["total"].to_numpy())


def test_a_last_epoch_that_is_cut_short_is_not_better_for_it():
    watched = Watched(replace(RECIPE, max_steps=25, learning_rate=0.0))
    fitted, history = watched.fit(validated=False, steps_per_epoch=10)
    assert history["step"].tolist() == [10, 20, 25]
    score = history["score"]
    assert score[2] == pytest.approx(score[1], rel=0.3)
    assert score[2] > 0.7 * score[0]


@pytest.mark.parametrize(("patience", "min_steps", "last"), [(2, 20, 60), (1, 20, 40), (2, 110, 120), (50, 20, 200)])
def test_training_stops_when_it_no_longer_gets_better(patience, min_steps, last):
    watched = Watched(replace(RECIPE, learning_rate=0.0, patience=patience, min_steps=min_steps))
    fitted, history = watched.fit()
    assert history["step"].iloc[-1] == last
    assert fitted.best_step == 20


@pytest.mark.parametrize("validated", [True, False])
def test_an_interrupt_keeps_the_best_weights_so_far(validated, capsys):
    watched = Watched(replace(RECIPE, learning_rate=0.1), interrupt_at=70)
    fitted, history = watched.fit(validated=validated, steps_per_epoch=20)
    assert history["step"].tolist() == [20, 40, 60]
    assert fitted.best_step == history["step"][history["score"].argmin()]
    watched.assert_restored(fitted.best_step)
    assert not watched.network.training
    assert "interrupted at step 71; the best weights so far are kept" in capsys.readouterr().err


def test_an_interrupt_before_the_first_score_keeps_the_weights_as_they_are():
    watched = Watched(RECIPE, interrupt_at=5)
    fitted, history = watched.fit()
    assert history.empty
    assert fitted.best_step == 0
    watched.assert_restored(5)


def test_other_errors_are_not_swallowed():
    watched = Watched(RECIPE)
    watched.load = lambda cells: {}[0]
    with pytest.raises(KeyError):
        watched.fit()


def test_held_out_error_is_the_cross_modal_one_without_chance():
    watched = Watched(replace(RECIPE, dropout=0.5))
    network, batch = watched.network, watched.validation
    found = held_out_error(network, batch, TARGETS, watched.recipe)
    assert network.training
    network.eval()
    with torch.no_grad():
        l = {name: network.encode(name, x)[0] for name, x in batch.inputs.items()}
        errors = [(network.decode(b, l[a]) - batch.inputs[b]).square().mean() for a, b in (("a", "b"), ("b", "a"))]
    assert found == pytest.approx(sum(errors).item(), rel=1e-5)


def test_held_out_error_is_known_to_recipes_that_do_not_train_on_it():
    watched = Watched(replace(RECIPE, cross=0.0))
    expected = held_out_error(watched.network, watched.validation, TARGETS, RECIPE)
    assert held_out_error(watched.network, watched.validation, TARGETS, watched.recipe) == expected > 0


def test_the_rate_follows_the_schedule(monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def watch(self, *args):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    Watched(replace(RECIPE, max_steps=40, learning_rate=0.5)).fit()
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == pytest.approx(0.5, rel=0.01) == pytest.approx(rates[10])
    assert rates[-1] < 0.01
    rates.clear()
    Watched(replace(RECIPE, max_steps=5, learning_rate=0.5, schedule="constant")).fit()
    assert rates == [0.5] * 5


def test_the_weight_of_the_divergence_rises(monkeypatch):
    seen = []

    def watch(outputs: Outputs, batch, targets, recipe, kappa):
        seen.append(kappa)
        return objective(outputs, batch, targets, recipe, kappa)

    monkeypatch.setattr("jamie.train._trainer.objective", watch)
    Watched(replace(RECIPE, max_steps=21, min_steps=20)).fit(validated=False)
    assert seen[0] == pytest.approx(0.0067, abs=1e-4)
    assert seen[10] == 0.5
    assert seen[20] == pytest.approx(0.9933, abs=1e-4)


def test_silence_where_stderr_is_no_terminal(capsys):
    Watched(replace(RECIPE, max_steps=20)).fit()
    assert capsys.readouterr() == ("", "")
