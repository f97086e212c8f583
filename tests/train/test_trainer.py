from __future__ import annotations

import signal
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from jamie._errors import InvalidValueError
from jamie.data import Batch, Draw
from jamie.data._loader import Inferred
from jamie.nn import JointVAE, Links, Outputs
from jamie.train import RECIPES, Target, fit, kl_weight, objective, one_cycle
from jamie.train._objective import held_out_cells, held_out_error
from jamie.train._optimiser import FlatAdamW, RunningAverage
from jamie.train._schedule import averaging_weight, cycle_ends
from jamie.train._trainer import _Best, _predicted, _requests, _surely_less

SIZES = {"a": 4, "b": 3}
TARGETS = dict.fromkeys(SIZES, Target(1.0, None))
RECIPE = replace(
    RECIPES["default"],
    hidden=(8,),
    n_latent=2,
    max_steps=40,
    min_steps=4,
    patience=10,
    dropout=0.0,
    averaging=0.0,
    cycles=0,
)
STILL = 1e-30  # a rate at which weights stay as they are
CYCLES = replace(RECIPE, max_steps=21, cycles=3)  # that end with steps 3, 9 and 21; scores are looked at every 4


@pytest.fixture(autouse=True)
def _seeded(monkeypatch):
    for module in ("_stopping", "_trainer"):
        monkeypatch.setattr(f"jamie.train.{module}.CHECK_EVERY", 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Watched:
    """A network, batches of paired cells, and the network's weights before each step."""

    def __init__(self, recipe, *, interrupt_at=None):
        hidden = {name: recipe.hidden_for(d) for name, d in SIZES.items()}
        self.recipe, self.interrupt_at, self.states = recipe, interrupt_at, []
        self.network = JointVAE(
            SIZES, n_latent=recipe.n_latent, hidden=hidden, norm=recipe.norm, dropout=recipe.dropout
        )
        latent, mix = torch.randn(60, 2), {name: torch.randn(2, d) for name, d in SIZES.items()}
        self.inputs = {name: latent @ mix[name] + 0.1 * torch.randn(60, d) for name, d in SIZES.items()}
        self.validation = self.batch(np.arange(40, 60))

    def batch(self, rows):
        return Batch(
            {name: x[torch.from_numpy(rows)] for name, x in self.inputs.items()},
            {},
            {("a", "b"): Links.of(torch.eye(len(rows)))},
        )

    def index(self, draws):
        (draw,) = draws
        return draw

    def gather(self, draw):
        return self.load(draw)

    def extremes(self, draws):
        (draw,) = draws
        return f"the batch of cell {draw.cells['a'][0]}"

    def held_out_error(self):
        return held_out_error(_predicted(self.network, self.validation), self.validation, TARGETS).item()

    def load(self, draw):
        self.states.append({name: value.clone() for name, value in self.network.state_dict().items()})
        if len(self.states) - 1 == self.interrupt_at:
            raise KeyboardInterrupt
        return self.batch(draw.cells["a"])

    def fit(self, *, validated=True, steps_per_epoch=2, checkpoint=None):
        rng = np.random.default_rng(0)
        self.fitted = fit(
            self.network,
            ([Draw({"a": rng.permutation(40)[:20]}, None, {})] for _ in count()),
            self,
            TARGETS,
            self.recipe,
            steps_per_epoch=steps_per_epoch,
            validation=self.validation if validated else None,
            checkpoint=checkpoint,
        )
        return self.fitted, self.fitted.history.frame()

    def assert_restored(self, step):
        for name, value in self.network.state_dict().items():
            assert torch.equal(value, self.states[step][name]), name


def mirrored(batch):
    """The same cells, with the second modality the other way round."""
    return batch._replace(inputs={**batch.inputs, "b": -batch.inputs["b"]})


def losses(monkeypatch, values):
    """Let the loss of each step be the next of these, with the gradient that it has."""
    left = iter(values)

    def scripted(*arguments):
        true = objective(*arguments)
        return true._replace(total=true.total - true.total.detach() + next(left))

    monkeypatch.setattr("jamie.train._step.objective", scripted)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_weights_of_the_lowest_score_are_restored(norm, monkeypatch):
    scores = iter([3.0, 2.0, 2.5, 1.0, 1.0, 4.0])
    monkeypatch.setattr("jamie.train._trainer.held_out_error", lambda *_: torch.tensor(next(scores)))
    watched = Watched(replace(RECIPE, norm=norm, max_steps=24))
    fitted, history = watched.fit()
    assert history["step"].tolist() == [4, 8, 12, 16, 20, 24]
    assert fitted.best_step == 16
    watched.assert_restored(16)
    assert not watched.network.training


def test_the_restored_network_has_the_best_score_on_held_out_pairs():
    """Half way the pairs turn into their opposite, so that held-out pairs get worse on any processor."""
    watched = Watched(replace(RECIPE, norm="batch", learning_rate=0.03, max_steps=60, patience=20))
    given = watched.load
    watched.load = lambda draw: mirrored(given(draw)) if len(watched.states) >= 30 else given(draw)
    fitted, history = watched.fit()
    assert history["score"].iloc[-1] > 1.2 * history["score"].min()
    assert fitted.best_step == history["step"][history["score"].argmin()] < 60
    assert watched.held_out_error() == history["score"].min()


def test_the_running_average_of_the_weights_is_what_is_scored_and_kept():
    watched = Watched(replace(RECIPE, averaging=0.8, learning_rate=0.1), interrupt_at=22)
    fitted, history = watched.fit()
    assert fitted.best_step >= 8
    average = watched.states[0]
    for step in range(1, fitted.best_step + 1):
        w = averaging_weight(step, 0.8)
        average = {name: (1 - w) * value + w * watched.states[step][name] for name, value in average.items()}
    torch.testing.assert_close(dict(watched.network.state_dict()), average)
    assert watched.held_out_error() == history["score"].min()


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_best_epoch_by_training_loss_is_restored(monkeypatch, norm):
    """The loss of an epoch is the mean of its three steps; the lowest single loss is in another epoch."""
    losses(monkeypatch, [9, 9, 9, 5, 5, 5, 4, 4, 1, 0, 9, 9, 6, 6, 6])
    watched = Watched(replace(RECIPE, norm=norm, max_steps=15))
    fitted, history = watched.fit(validated=False, steps_per_epoch=3)
    assert history["step"].tolist() == [3, 6, 9, 12, 15]
    assert history["score"].tolist() == [9, 5, 3, 6, 6]
    assert fitted.best_step == 9
    watched.assert_restored(9)


@pytest.mark.parametrize("rho", [1.0, 0.25])
def test_inferred_partners_are_mixed_in_for_training_and_not_for_judging(monkeypatch, rho):
    watched = Watched(replace(RECIPE, rho=rho, max_steps=4))
    rows, block = torch.arange(3), torch.zeros(20, 20)
    block[rows, rows + 1] = 1
    known = torch.eye(20) * (torch.arange(20) >= 3)
    given = watched.batch
    guess = {("a", "b"): Inferred(rows, rows + 1, rows + 1, Links.of(block))}
    watched.batch = lambda cells: given(cells)._replace(known={("a", "b"): Links.of(known)}, inferred=guess)
    seen, forward = [], JointVAE.forward

    def watch(self, inputs, correspondence, **options):
        seen.append(correspondence["a", "b"].to_dense())
        return forward(self, inputs, correspondence, **options)

    monkeypatch.setattr(JointVAE, "forward", watch)
    watched.fit()
    *training, judging = seen
    assert len(training) == 4
    for f in training:
        torch.testing.assert_close(f, known + (1 - rho) * block)
    torch.testing.assert_close(judging, torch.eye(20))


def test_losses_of_epochs_do_not_compare_before_the_weight_of_the_divergence_has_risen(monkeypatch):
    losses(monkeypatch, [1] * 28 + [5, 5, 4, 4, 6, 6, 3, 3, 7, 7, 8, 8])
    watched = Watched(replace(RECIPE, min_steps=30))
    fitted, _ = watched.fit(validated=False, steps_per_epoch=2)
    assert fitted.best_step == 36
    watched.assert_restored(36)
    watched = Watched(replace(RECIPE, min_steps=30), interrupt_at=9)
    losses(monkeypatch, [1] * 9)
    watched.fit(validated=False, steps_per_epoch=2)
    watched.assert_restored(9)


def test_training_learns_from_the_pairs():
    watched = Watched(replace(RECIPE, max_steps=150, learning_rate=0.03, weight_decay=0.0, cycles=1))
    _, history = watched.fit()
    assert history["score"].min() < 0.2 * history["score"].iloc[0]


def test_a_network_in_eval_mode_is_trained_all_the_same():
    watched = Watched(replace(RECIPE, norm="batch", max_steps=1))
    watched.network.eval()
    watched.fit()
    assert watched.network.encoders[0].trunk[1].num_batches_tracked == 1


def test_the_score_of_an_epoch_is_the_mean_loss_of_its_steps():
    one, three = (Watched(replace(RECIPE, max_steps=6, learning_rate=STILL)) for _ in range(2))
    three.network.load_state_dict(one.network.state_dict())
    three.inputs = one.inputs
    with torch.random.fork_rng():
        _, every_step = one.fit(validated=False, steps_per_epoch=1)
    _, every_third = three.fit(validated=False, steps_per_epoch=3)
    assert every_step["score"].to_numpy() == pytest.approx(every_step["total"].to_numpy())
    assert every_third["score"].to_numpy() == pytest.approx(every_step["score"].to_numpy().reshape(2, 3).mean(1))


def test_a_last_epoch_that_is_cut_short_is_not_better_for_it():
    watched = Watched(replace(RECIPE, max_steps=5, learning_rate=STILL))
    _, history = watched.fit(validated=False, steps_per_epoch=4)
    assert history["step"].tolist() == [4, 5]
    assert history["score"][1] == pytest.approx(history["total"][1])


@pytest.mark.parametrize(
    ("patience", "min_steps", "best", "last"), [(2, 4, 4, 12), (1, 4, 4, 8), (2, 22, 24, 32), (50, 4, 4, 40)]
)
def test_training_stops_when_it_no_longer_gets_better_from_the_least_steps_on(patience, min_steps, best, last):
    watched = Watched(replace(RECIPE, learning_rate=STILL, patience=patience, min_steps=min_steps))
    fitted, history = watched.fit()
    assert history["step"].iloc[-1] == len(watched.states) == last
    assert fitted.best_step == best


def scored(monkeypatch, *scores):
    """Let each look at the held-out pairs find the next of these."""
    left = iter(scores)
    monkeypatch.setattr("jamie.train._trainer.held_out_error", lambda *_: torch.tensor(next(left), dtype=torch.float64))
    monkeypatch.setattr("jamie.train._trainer.held_out_cells", lambda *_: None)


@pytest.mark.parametrize(("last", "best"), [(1.0, 21), (2.5, 9)])
def test_in_cycles_weights_are_kept_at_the_end_of_one_alone(monkeypatch, last, best):
    scored(monkeypatch, 3.0, 0.1, 0.2, 2.0, 0.1, 0.2, 0.3, last)
    watched = Watched(CYCLES)
    fitted, history = watched.fit()
    assert history["step"].tolist() == [3, 4, 8, 9, 12, 16, 20, 21]
    assert history["score"].tolist() == [3.0, 0.1, 0.2, 2.0, 0.1, 0.2, 0.3, last]
    assert fitted.best_step == best
    if best < 21:
        watched.assert_restored(best)


@pytest.mark.parametrize(("patience", "n_steps"), [(1, 9), (2, 21)])
def test_training_stops_after_cycles_that_were_not_better(monkeypatch, patience, n_steps):
    scored(monkeypatch, 3.0, 0.1, 0.2, 3.5, 0.1, 0.2, 0.3, 4.0)
    watched = Watched(replace(CYCLES, patience=patience))
    fitted, history = watched.fit()
    assert history["step"].iloc[-1] == len(watched.states) == n_steps
    assert fitted.best_step == 3
    watched.assert_restored(3)


def test_a_round_that_was_better_gives_patience_anew(monkeypatch):
    scored(monkeypatch, 3.0, 9.0, 9.0, 2.0, 9.0, 9.0, 9.0, 2.1)
    watched = Watched(replace(CYCLES, patience=1))
    fitted, _ = watched.fit()
    assert len(watched.states) == 21
    assert fitted.best_step == 9
    watched.assert_restored(9)


@pytest.mark.parametrize("least", [1, 30])
def test_cycles_do_not_wait_for_the_least_steps(least):
    watched = Watched(replace(CYCLES, learning_rate=STILL, patience=1, min_steps=least))
    fitted, _ = watched.fit()
    assert (fitted.best_step, len(watched.states)) == (3, 9)


@pytest.mark.parametrize("averaging", [0.0, 0.8])
def test_without_held_out_pairs_there_is_one_round(averaging):
    watched = Watched(replace(CYCLES, averaging=averaging, learning_rate=0.1, max_steps=35))
    fitted, history = watched.fit(validated=False, steps_per_epoch=2)
    assert history["step"].tolist() == [2, 4, 5]
    assert fitted.best_step == len(watched.states) == 5
    assert not watched.network.training


@pytest.mark.parametrize(("at", "kept"), [(2, 2), (8, 3), (14, 9)])
def test_an_interrupt_keeps_the_best_round_so_far(monkeypatch, at, kept):
    scored(monkeypatch, 3.0, 0.1, 0.2, 2.0, 0.1, 0.2, 0.3, 1.0)
    watched = Watched(CYCLES, interrupt_at=at)
    fitted, _ = watched.fit()
    assert fitted.best_step == kept
    watched.assert_restored(kept)


@pytest.mark.parametrize("validated", [True, False])
def test_an_interrupt_keeps_the_best_weights_so_far(validated, capsys):
    watched = Watched(replace(RECIPE, learning_rate=0.1), interrupt_at=14)
    fitted, history = watched.fit(validated=validated, steps_per_epoch=4)
    assert history["step"].tolist() == [4, 8, 12]
    assert fitted.best_step == history["step"][history["score"].argmin()]
    watched.assert_restored(fitted.best_step)
    assert not watched.network.training
    assert "interrupted after step 14; the best weights so far are kept" in capsys.readouterr().err


def test_an_interrupt_before_the_first_score_keeps_the_weights_as_they_are():
    watched = Watched(RECIPE, interrupt_at=2)
    _, history = watched.fit()
    assert history.empty
    watched.assert_restored(2)


def test_other_errors_are_not_swallowed():
    watched = Watched(RECIPE)
    watched.load = lambda draw: {}[0]
    with pytest.raises(KeyError):
        watched.fit()


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("at", [1, 4, 7])  # 4 and 5: losses are looked at in between
@pytest.mark.parametrize(("validated", "recipe"), [(True, RECIPE), (False, RECIPE), (True, CYCLES), (False, CYCLES)])
def test_a_training_that_diverges_ends_soon_and_names_the_step_and_the_rate(monkeypatch, value, at, validated, recipe):
    losses(monkeypatch, [2.0] * (at - 1) + [value] * 2 + [2.0] * 40)
    watched = Watched(replace(recipe, min_steps=20, cycles=min(recipe.cycles, 1), learning_rate=0.5))
    message = (
        rf"found a loss of {value} twice in a row \(the batch of cell \d+\) at step {at + 1}, with learning_rate=0\.5; "
        r"pass a lower .*learning_rate=0\.002\)"
    )
    with pytest.raises(InvalidValueError, match=message):
        watched.fit(validated=validated, steps_per_epoch=1000)
    assert len(watched.states) <= at + 4  # looked at every 4


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize(("norm", "averaging"), [("layer", 0.0), ("layer", 0.8), ("batch", 0.8)])
def test_a_step_with_a_loss_that_is_no_number_changes_nothing_and_is_named(monkeypatch, capsys, value, norm, averaging):
    losses(monkeypatch, [2.0] * 5 + [value] + [2.0] * 7)
    watched = Watched(replace(RECIPE, norm=norm, averaging=averaging, learning_rate=0.1, max_steps=12))
    watched.drawn, given = [], watched.load
    watched.load = lambda draw: (watched.drawn.append(draw.cells["a"][0]), given(draw))[1]
    averages, follow = [], RunningAverage.follow

    def watch(self, weight):
        before = [value.clone() for value in (self._average, *(average for average, _ in self._buffers))]
        follow(self, weight)
        after = (self._average, *(average for average, _ in self._buffers))
        averages.append(all(map(torch.equal, before, after)))

    monkeypatch.setattr(RunningAverage, "follow", watch)
    fitted, history = watched.fit(validated=False, steps_per_epoch=4)
    for name, before in watched.states[5].items():
        assert torch.equal(watched.states[6][name], before), name
        moved = not torch.equal(watched.states[7][name], before)
        assert moved or "log_var" in name or "log_weights" in name, name
    assert averages == ([False] * 5 + [True] + [False] * 6 if averaging else [])
    assert (fitted.n_steps, fitted.n_rolled_back, fitted.diverged) == (12, 1, 0)
    assert history["score"].tolist() == [2.0, 2.0, 2.0]
    said = capsys.readouterr().err
    assert said == (
        f"jamie: step 6 is rolled back, for it had a loss of {value}; the batch of cell {watched.drawn[5]}\n"
    )


def test_steps_that_are_rolled_back_now_and_then_end_nothing_and_fill_no_log(monkeypatch, capsys):
    losses(monkeypatch, [NAN, 2.0] * 20)
    fitted, history = Watched(RECIPE).fit()
    assert (fitted.n_steps, fitted.n_rolled_back, fitted.diverged) == (40, 20, 0)
    assert history["total"].tolist() == [2.0] * 10
    assert capsys.readouterr().err.count("rolled back") == 3


@pytest.mark.parametrize(("at", "values", "rolled_back"), [
    (14, {13: NAN}, 1), (14, {14: NAN}, 1), (14, {5: NAN, 9: NAN, 13: NAN}, 3), (2, {2: NAN}, 1), (16, {16: NAN}, 1),
])  # fmt: skip
def test_steps_that_were_rolled_back_right_before_an_interrupt_are_counted(
    monkeypatch, at, values, rolled_back, capsys
):
    losses(monkeypatch, [values.get(step, 2.0) for step in range(1, 41)])
    watched = Watched(RECIPE, interrupt_at=at)
    fitted, _ = watched.fit(steps_per_epoch=8)
    assert (fitted.n_steps, fitted.n_rolled_back, fitted.diverged) == (at, rolled_back, 0)
    assert fitted.interrupted == "SIGINT"
    assert f"step {max(values)} is rolled back" in capsys.readouterr().err


def test_a_training_that_diverged_right_before_an_interrupt_says_so(monkeypatch, capsys):
    losses(monkeypatch, [2.0] * 12 + [NAN] * 30)
    watched = Watched(RECIPE, interrupt_at=14)
    fitted, _ = watched.fit(steps_per_epoch=4)
    assert (fitted.n_rolled_back, fitted.diverged, fitted.interrupted) == (2, 14, "SIGINT")
    assert "training diverged" in capsys.readouterr().err
    watched.assert_restored(fitted.best_step)


def test_an_epoch_whose_only_step_is_rolled_back_is_none(monkeypatch):
    losses(monkeypatch, [NAN, 5.0, 4.0, NAN, 3.0, NAN])
    watched = Watched(replace(RECIPE, max_steps=6, min_steps=1, patience=2))
    fitted, history = watched.fit(validated=False, steps_per_epoch=1)
    assert history["step"].tolist() == [2, 3, 5]
    assert history["score"].tolist() == [5.0, 4.0, 3.0]
    assert fitted.best_step == 5


def test_a_gradient_that_is_no_number_is_seen_before_the_loss_is(monkeypatch, capsys):
    """As when a standard deviation of 0 is differentiated: the loss of that step is fine."""
    seen = []

    def scripted(*arguments):
        true = objective(*arguments)
        seen.append(true)
        return true._replace(total=true.total + (0 * true.total).sqrt()) if len(seen) == 3 else true

    monkeypatch.setattr("jamie.train._step.objective", scripted)
    watched = Watched(RECIPE)
    fitted, _ = watched.fit()
    assert "step 3 is rolled back, for it had a gradient of norm nan" in capsys.readouterr().err
    assert fitted.n_rolled_back == 1
    for name, before in watched.states[2].items():
        assert torch.equal(watched.states[3][name], before)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("validated", [True, False])
def test_good_weights_are_kept_when_training_diverges_later(monkeypatch, capsys, value, validated):
    losses(monkeypatch, [3.0] * 4 + [2.0] * 4 + [value] * 40)
    watched = Watched(replace(RECIPE, learning_rate=1e-3))
    monkeypatch.setattr("jamie.train._trainer.held_out_error", lambda *_: torch.tensor(9.0 - len(watched.states)))
    fitted, history = watched.fit(validated=validated, steps_per_epoch=4)
    assert history["step"].tolist() == [4, 8]
    assert (fitted.best_step, fitted.diverged) == (8, 10)
    watched.assert_restored(8)
    assert not watched.network.training
    assert len(watched.states) <= 12
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"jamie: training diverged: a loss of {value} twice in a row (the batch of cell ")
    assert "at step 10, with learning_rate=0.001; " in said
    assert "the weights of step 8 are kept; pass a lower learning rate" in said
    assert "learning_rate=0.0001)" in said


def test_good_weights_of_a_cycle_are_kept_when_a_later_one_diverges(monkeypatch, capsys):
    scored(monkeypatch, 3.0, 0.1, 0.2, 2.0)
    losses(monkeypatch, [1.0] * 10 + [NAN] * 20)
    watched = Watched(CYCLES)
    fitted, _ = watched.fit()
    assert fitted.best_step == 9
    watched.assert_restored(9)
    assert "at step 12" in capsys.readouterr().err


def test_a_score_that_is_no_number_is_no_score(monkeypatch):
    scored(monkeypatch, 3.0, NAN)
    with pytest.raises(InvalidValueError, match="found a score of nan at step 8,"):
        Watched(replace(RECIPE, min_steps=30)).fit()


def test_weights_that_blow_up_with_the_last_step_are_not_handed_out(monkeypatch):
    watched = Watched(replace(RECIPE, max_steps=1, min_steps=1, learning_rate=1e30, weight_decay=1e30))
    monkeypatch.setattr("jamie.train._trainer.held_out_error", lambda *_: torch.tensor(1.0))
    with pytest.raises(InvalidValueError, match=r"finite losses, found weights that are no numbers at step 1, with"):
        watched.fit()


def test_losses_are_not_waited_for_at_each_step(monkeypatch):
    """Reading a value waits for the device: that is for the steps at which losses are read, or every few."""
    reads, steps = [], []
    for name in ("item", "tolist", "__bool__", "__float__"):
        plain = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, plain=plain: (reads.append(len(steps)), plain(self))[1])
    watched = Watched(replace(RECIPE, max_steps=12, min_steps=100, step_unit="epoch"))
    given = watched.load
    watched.load = lambda draw: (steps.append(1), given(draw))[1]
    watched.fit(validated=False, steps_per_epoch=6)
    assert {step % 6 for step in reads} == {0, 4}  # each epoch of six, and the fourth step after one


def test_held_out_error_is_the_cross_modal_one_without_chance():
    watched = Watched(replace(RECIPE, dropout=0.5))
    network, batch = watched.network, watched.validation
    found = watched.held_out_error()
    assert network.training
    network.eval()
    with torch.no_grad():
        l = {name: network.encode(name, x)[0] for name, x in batch.inputs.items()}
        errors = [(network.decode(b, l[a]) - batch.inputs[b]).square().mean() for a, b in (("a", "b"), ("b", "a"))]
    assert found == pytest.approx(sum(errors).item(), rel=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_errors_of_single_cells_have_the_held_out_error_as_their_mean(share):
    """Confidences of the pairs included: `share` of one, in half of them."""
    watched = Watched(replace(RECIPE, dropout=0.5))
    (known,) = watched.validation.known.values()
    sure = torch.where(torch.arange(known.shape[0]) % 2 == 0, share, 1.0)
    pairs = {pair: Links.of(f.to_dense() * sure[:, None]) for pair, f in watched.validation.known.items()}
    batch = watched.validation = watched.validation._replace(known=pairs)
    found = held_out_cells(_predicted(watched.network, batch), batch, TARGETS)
    assert [len(cells) for cells in found] == [20, 20]
    assert watched.network.training
    expected = watched.held_out_error()
    assert sum(cells.mean().item() for cells in found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("gain", "best"), [(0.5, 9), (0.15, 9), (0.08, 3), (0.01, 3)])
def test_a_longer_training_must_be_better_by_more_than_half_its_standard_error(monkeypatch, gain, best):
    """Of 20 cells whose errors differ by ±1 between cycles the standard error of the mean is 0.23."""
    scores, spread = iter([2.0, 2.0, 2.0, 1.9, 3.0, 3.0, 3.0, 3.0]), torch.tensor([1.0, -1.0]).repeat(10)
    cells = iter([torch.full((20,), 2.0), 2.0 - gain + spread, torch.full((20,), 3.0)])
    monkeypatch.setattr("jamie.train._trainer.held_out_error", lambda *_: torch.tensor(next(scores)))
    monkeypatch.setattr("jamie.train._trainer.held_out_cells", lambda *_: [next(cells)])
    fitted, _ = Watched(replace(CYCLES, patience=2)).fit()
    assert fitted.best_step == best


@pytest.fixture
def rates(monkeypatch):
    """Learning rate of each step."""
    seen, factors = [], FlatAdamW.factors

    def watch(self, rate, step):
        seen.append(rate)
        return factors(self, rate, step)

    monkeypatch.setattr(FlatAdamW, "factors", watch)
    return seen


@pytest.mark.parametrize(("step_unit", "tick"), [("step", 1), ("epoch", 3)])
def test_the_rate_rises_and_falls_in_cycles(rates, step_unit, tick):
    Watched(replace(CYCLES, max_steps=14, learning_rate=0.5, step_unit=step_unit)).fit(steps_per_epoch=3)
    ends = cycle_ends(14 * tick, 3)
    assert rates == pytest.approx([0.5 * one_cycle(step, ends) for step in range(1, 14 * tick + 1)])


def test_the_rate_can_be_constant(rates):
    Watched(replace(RECIPE, max_steps=5, learning_rate=0.5)).fit()
    assert rates == [0.5] * 5


@pytest.mark.parametrize(("step_unit", "tick"), [("step", 1), ("epoch", 3)])
def test_the_weight_of_the_divergence_rises_over_the_least_steps(monkeypatch, step_unit, tick):
    seen = []

    def watch(outputs: Outputs, batch, targets, recipe, kappa):
        seen.append(kappa.item())
        return objective(outputs, batch, targets, recipe, kappa)

    monkeypatch.setattr("jamie.train._step.objective", watch)
    Watched(replace(RECIPE, max_steps=9, min_steps=8, step_unit=step_unit)).fit(validated=False, steps_per_epoch=3)
    assert seen == pytest.approx([kl_weight(step / tick, 8) for step in range(1, 9 * tick + 1)])


def test_epochs_count_as_in_the_paper(monkeypatch):
    """Twelve steps are four epochs of three: from there on losses are judged, and the second is no better."""
    losses(monkeypatch, [3] * 12 + [4] * 15)
    watched = Watched(replace(RECIPE, max_steps=9, min_steps=4, patience=1, step_unit="epoch"))
    fitted, history = watched.fit(validated=False, steps_per_epoch=3)
    assert history["step"].tolist() == [3, 6, 9, 12, 15]
    assert fitted.best_step == 12


def test_silence_where_stderr_is_no_terminal(capsys):
    Watched(replace(RECIPE, max_steps=4)).fit()
    assert capsys.readouterr() == ("", "")


class Killed(BaseException):
    """Stands for the end of the process."""


class InMemory:
    """Keeps the state after each step, and ends the training after one of them."""

    def __init__(self, state=None, *, cut=None, is_due=True):
        self.state, self.cut, self._is_due = state, cut, is_due
        self.asked, self.kept, self.began = [], [], None

    def begun(self, state):
        self.began = state
        return self.state

    def is_due(self, *, at_end):
        self.asked.append(at_end)
        return self._is_due

    def keep(self, state):
        self.state = replace(state, arrays={name: array.copy() for name, array in state.arrays.items()})
        self.kept.append(state.step)
        if state.step == self.cut:
            raise Killed

    def forget(self):
        self.state = None


CUTS = {
    "patience": (
        replace(RECIPE, patience=3, min_steps=4, max_steps=40),
        [1.0, 5.0, 0.5, 2.0, 2.0, 2.0, 0.1],
        [0.0],
        True,
    ),
    "surely better": (replace(CYCLES, patience=2), [2.0, 2.0, 2.0, 1.9, 3.0, 3.0, 3.0, 1.85], [0.0, 0.08, 0.12], True),
    "means of an epoch": (replace(RECIPE, max_steps=18, averaging=0.5), [], [0.0], False),
}


@pytest.mark.parametrize(("recipe", "scores", "gains", "validated"), CUTS.values(), ids=CUTS)
def test_a_training_that_is_cut_after_a_step_is_the_training(monkeypatch, recipe, scores, gains, validated):
    """Also where it ends by patience, and by errors of single cells; some steps are rolled back."""
    values = [float(NAN if step % 7 == 5 else 3 - 0.1 * step + (step % 3)) for step in range(40)]
    spread = torch.tensor([1.0, -1.0]).repeat(10)

    def run(checkpoint, n_steps, n_scores, n_judged):
        torch.manual_seed(0)
        losses(monkeypatch, values[n_steps:])
        if validated:
            scored(monkeypatch, *scores[n_scores:])
            cells = iter([2.0 - gain + i * spread for i, gain in enumerate(gains)][n_judged:])
            monkeypatch.setattr("jamie.train._trainer.held_out_cells", lambda *_: [next(cells)])
        watched = Watched(recipe)
        rng = np.random.default_rng(0)
        fitted = fit(
            watched.network,
            ([Draw({"a": rng.permutation(40)[:20]}, None, {})] for _ in count()),
            watched,
            TARGETS,
            recipe,
            steps_per_epoch=6,
            validation=watched.validation if validated else None,
            checkpoint=checkpoint,
        )
        return fitted, watched.network.state_dict()

    whole, weights = run(None, 0, 0, 0)
    assert whole.n_rolled_back
    for cut in range(2, whole.n_steps, 3):
        killed = InMemory(cut=cut)
        with pytest.raises(Killed):
            run(killed, 0, 0, 0)
        n_judged = sum(step <= cut for step in (3, 9, 21))
        fitted, found = run(InMemory(killed.state), cut, len(killed.state.history.get("step", [])), n_judged)
        assert fitted.history.rows == whole.history.rows
        assert fitted._replace(history=None, seconds=0) == whole._replace(history=None, seconds=0)
        for name, value in weights.items():
            assert torch.equal(found[name], value), (cut, name)


def test_a_checkpoint_is_asked_after_each_step_and_is_given_the_last(monkeypatch):
    scored(monkeypatch, *range(9, 0, -1))
    checkpoint = InMemory(is_due=False)
    Watched(CYCLES).fit(checkpoint=checkpoint)
    assert [step for step, at_end in enumerate(checkpoint.asked, start=1) if at_end] == [3, 9]
    assert checkpoint.kept == [21]
    assert checkpoint.state.is_over
    assert checkpoint.began.step == 0
    assert set(checkpoint.began.arrays) <= set(checkpoint.state.arrays)


def test_a_training_that_diverged_leaves_no_checkpoint(monkeypatch):
    losses(monkeypatch, [2.0] * 4 + [NAN] * 40)
    checkpoint = InMemory()
    Watched(RECIPE).fit(checkpoint=checkpoint)
    assert checkpoint.kept
    assert checkpoint.state is None


def test_an_interrupt_names_its_signal_and_says_that_the_same_call_goes_on(capsys):
    checkpoint = InMemory()
    watched = Watched(RECIPE, interrupt_at=6)
    fitted, _ = watched.fit(checkpoint=checkpoint)
    assert (fitted.interrupted, fitted.n_steps, checkpoint.state.step) == ("SIGINT", 6, 6)
    assert not checkpoint.state.is_over
    assert (
        "after step 6; the best weights so far are kept, and the same call goes on with it" in capsys.readouterr().err
    )
    assert not any(parameter._is_view() for parameter in watched.network.parameters())


def test_a_signal_is_heeded_after_the_step_when_it_is_kept():
    checkpoint, watched = InMemory(is_due=False), Watched(RECIPE)
    given = watched.load
    watched.load = lambda draw: (len(watched.states) == 5 and signal.raise_signal(signal.SIGTERM), given(draw))[1]
    fitted, _ = watched.fit(checkpoint=checkpoint)
    assert (fitted.interrupted, fitted.n_steps, checkpoint.kept) == ("SIGTERM", 6, [6])
    assert fitted.diverged == 0


class Bar:
    """A progress bar that notes what it is told."""

    def __init__(self, total, **options):
        self.total, self.options, self.n, self.shown, self.is_open = total, options, 0, [], True

    def update(self, n=1):
        self.n += n

    def set_postfix(self, **shown):
        self.shown.append(shown)

    def close(self):
        self.is_open = False


def test_the_bar_counts_all_steps_and_the_time_goes_on_with_a_state(monkeypatch, capsys):
    bars = []
    monkeypatch.setattr("jamie.train._trainer.progress", lambda *a, **o: (bars.append(Bar(*a, **o)), bars[-1])[1])
    scores = [3.0, 2.0, 2.5, 1.0, 1.5]
    scored(monkeypatch, *scores)
    recipe = replace(RECIPE, max_steps=20)
    checkpoint = InMemory(cut=11)
    with pytest.raises(Killed):
        Watched(recipe).fit(checkpoint=checkpoint)
    assert (bars[0].total, bars[0].n, bars[0].is_open) == (20, 11, False)
    assert bars[0].options == {"description": "jamie, recipe 'default'", "unit": "cells", "scale": recipe.batch_size}
    assert [shown["best"] for shown in bars[0].shown] == ["3.000", "2.000"]
    before = checkpoint.state
    scored(monkeypatch, *scores[2:])
    fitted, history = Watched(recipe).fit(checkpoint=InMemory(replace(before, seconds=1000.0)))
    assert (bars[1].total, bars[1].n, bars[1].is_open) == (20, 20, False)
    assert [shown["best"] for shown in bars[1].shown] == ["2.000", "1.000", "1.000"]
    assert [shown["loss"] for shown in bars[1].shown] == [f"{loss:.3f}" for loss in history["total"][2:]]
    assert 1000 < fitted.seconds < 1100
    assert 0 < before.seconds < 100
    assert "going on after step 11 of 20" in capsys.readouterr().err


@pytest.mark.parametrize("n", [1, 2])
def test_processes_that_train_together_end_at_once(monkeypatch, n):
    """One that waits for the end of its step would wait for the others, who have ended."""
    monkeypatch.setattr("jamie.train._trainer.n_ranks", lambda: n)
    usual = signal.getsignal(signal.SIGTERM)
    with _requests() as requests:
        assert not requests.came
        assert (signal.getsignal(signal.SIGTERM) == usual) == (n > 1)
    assert signal.getsignal(signal.SIGTERM) == usual


@pytest.mark.parametrize(
    ("name", "rate", "remedy"),
    [
        ("default", 0.5, "jm.recipes['default'], learning_rate=0.002)"),
        ("default", 0.002, "jm.recipes['default'], learning_rate=0.0002)"),
        ("default", 0.001, "jm.recipes['default'], learning_rate=0.0001)"),
        ("paper", 0.002, "jm.recipes['paper'], learning_rate=0.001)"),
        ("mine", 0.5, "recipe, learning_rate=0.05)"),
    ],
)
def test_the_rate_that_would_do_is_lower_than_that_of_the_training(monkeypatch, name, rate, remedy):
    losses(monkeypatch, [NAN] * 40)
    with pytest.raises(InvalidValueError) as caught:
        Watched(replace(RECIPE, name=name, learning_rate=rate)).fit()
    assert f"; pass a lower learning rate, recipe=dataclasses.replace({remedy}, and look for" in str(caught.value)


def test_an_error_of_one_cell_or_none_has_no_spread(monkeypatch):
    """A pair of modalities with a single held-out cell says nothing of how sure a gain is, the others do."""
    one, many = torch.tensor([1.0]), torch.tensor([2.0, 4.0, 3.0])
    assert _surely_less([one - 0.9, many - 1], [one, many])
    assert not _surely_less([one - 0.9, many], [one, many])
    assert _surely_less([many - torch.tensor([0.0, 1.0, 2.0])], [many])  # 1 ± 0.58
    assert not _surely_less([many - torch.tensor([-1.0, 0.0, 1.5])], [many])  # 0.17 ± 0.73


def test_a_score_that_is_the_same_to_rounding_is_not_better():
    watched = Watched(RECIPE)
    best = _Best(watched.network, watched.network)
    for score, step, stands in ((1.0, 1, 0), (1.0 - 5e-9, 2, 1), (1.0 - 2e-8, 3, 0), (1.0, 4, 1), (1.0, 5, 2)):
        best.offer(score, step)
        assert best.stale == stands
    assert (best.score, best.step) == (1.0 - 2e-8, 3)


@pytest.mark.parametrize("averaging", [0.0, 0.8])
def test_a_state_has_the_names_that_files_of_it_have(monkeypatch, averaging):
    """A later version goes on from a file of this one: what is written by one name is looked for by it."""
    scored(monkeypatch, 3.0, 2.0)
    monkeypatch.setattr("jamie.train._trainer.held_out_cells", lambda *_: [torch.ones(20), torch.ones(20)])
    checkpoint, watched = InMemory(), Watched(replace(CYCLES, max_steps=6, cycles=1, averaging=averaging))
    watched.fit(checkpoint=checkpoint)
    weights = list(watched.network.state_dict())
    groups = ["network", "best"] + (["average"] if averaging else [])
    expected = {f"{group}/{name}" for group in groups for name in weights}
    expected |= {"optimiser/first", "optimiser/second", "cells/0", "cells/1", "chance"}
    assert set(checkpoint.state.arrays) == expected
