"""The estimator: where data, network and training meet once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from mudata import MuData
from scipy import sparse
from sklearn.base import BaseEstimator

from jamie._atomic import as_path
from jamie._checks import generator, require_name, require_names
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._types import Array, Direction, Pair, Seed
from jamie.data import (
    HELD_OUT,
    TRAIN,
    VALIDATION,
    Cells,
    Draw,
    EffectColumns,
    FeatureNames,
    Layers,
    LinkedCells,
    Loader,
    SeenCells,
    digest,
    open_cells,
    open_for_model,
    read,
    require_model,
)
from jamie.nn import KernelMix, SideBySide, aggregate, copy_from_first, joined, meet, own_noise
from jamie.train import Recipe, fit, recipe_of

from . import _persist
from ._adapt import adapt_kernel_mixes, with_lone_cells
from ._checkpoint import Checkpoint, Origin, checkpoint_in, start_of
from ._confidence import CellConfidence, learned_of, weighted_novelty
from ._device import by_rows, in_turn, is_low_precision, isolated, on_threads, resolve_device, seeded, to_torch
from ._intervals import LEAST, Calibration
from ._kernel_mixes import KernelMixes
from ._new_batches import learn_new_batches, new_batches, with_new_batches
from ._plan import (
    draws,
    ensemble_of,
    hold_out,
    input_scale,
    loss_target,
    require_batch,
    require_ranks,
    require_side_by_side,
    size_of_batch,
    widest,
    widths_of,
)
from ._recovery import with_recovery
from ._sources import SeveralSources, left_out_of_several, source_errors
from ._summary import Summary, described, pair_scores


class JAMIE(BaseEstimator):
    """Joint variational autoencoder of two or more modalities: embeds cells, imputes what they were not measured in.

    Functions of :mod:`jamie.tl` read from and write to a MuData around it; the model itself gives arrays.

    Parameters
    ----------
    recipe
        ``"default"``, ``"paper"`` (the published model), or a changed copy of one.
    n_latent, n_networks, dropout, batch_size, max_steps
        Settings that replace the recipe's.
    batch_key
        Column of cells whose effect on the values is taken off, such as their batch; `None` for none.
    covariates
        Columns of numbers whose effects are taken off.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or another device of torch that this machine has, as text or
        :class:`torch.device`.
    rng
        Seed or generator; the same seed on the same machine gives the same bits on CPU.

    Attributes
    ----------
    recipe_
        The recipe as it was used.
    preparations_
        By modality, how features become the network's input and back.
    calibrations_
        By source and target, how far off what is imputed may be; of those with 30 training pairs and a kernel
        regression. Of three modalities or more also by several sources, in the order of the model, and target.
    confidences_
        By the same, which cells are imputed better than others, and which are unlike those of the training.
    source_errors_
        By target, how far off what each source tells of it was, and which sources err alike; of three modalities or
        more.
    history_
        Losses by step, a data frame.
    seen_
        By modality, digests of the cells that were learned from, chosen by or held out, and in which modalities they
        had known partners: it knows them again.
    summary_
        Best step, seconds, whether it was interrupted, and scores on validation pairs, or on training pairs if none
        were set aside: `cells` says which, `table()` gives FOSCTTM and correlations of all modalities with standard
        errors over these cells, `value(measure, source, target)` one of them.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.JAMIE(max_steps=5).fit(mdata)
    >>> model.embed(mdata)["rna"].shape
    (54, 32)
    """

    def __init__(
        self,
        recipe: str | Recipe = "default",
        *,
        n_latent: int | None = None,
        n_networks: int | None = None,
        dropout: float | None = None,
        batch_size: int | None = None,
        max_steps: int | None = None,
        batch_key: str | None = None,
        covariates: Sequence[str] = (),
        device: str | torch.device = "auto",
        rng: Seed = 0,
    ) -> None:
        self.recipe = recipe
        self.n_latent = n_latent
        self.n_networks = n_networks
        self.dropout = dropout
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.batch_key = batch_key
        self.covariates = covariates
        self.device = device
        self.rng = rng

    @in_turn()
    @isolated()
    def fit(
        self,
        mdata: MuData | Cells,
        *,
        modalities: Sequence[str] | None = None,
        layer: Layers = None,
        key_added: str = "jamie",
        checkpoint: str | Path | None = None,
    ) -> JAMIE:
        """Train on the cells that `pp.split` left, with preparation and pairs as `pp` wrote them, or by default.

        Trainings in several threads of one process take turns, so that each gives what it gives alone. With a
        `checkpoint`, a folder, a call that was killed goes on when it is made again, as :func:`jamie.tl.train` says.
        """
        with checkpoint_in(checkpoint, rng=self.rng) as kept:
            return self._fit(mdata, kept, modalities=modalities, layer=layer, key_added=key_added)

    def _fit(
        self,
        mdata: MuData | Cells,
        kept: Checkpoint | None,
        *,
        modalities: Sequence[str] | None,
        layer: Layers,
        key_added: str,
    ) -> JAMIE:
        rng, columns = generator(self.rng), EffectColumns.of(self.batch_key, self.covariates)
        start = start_of(self.rng, rng)
        cells = open_cells(mdata, modalities=modalities, keys=Keys(key_added), layer=layer)
        self.recipe_ = recipe_of(
            self.recipe,
            n_latent=self.n_latent,
            n_networks=self.n_networks,
            dropout=self.dropout,
            batch_size=self.batch_size,
            max_steps=self.max_steps,
        )
        require_side_by_side(self.recipe_)
        device = resolve_device(self.device)
        self.__dict__.pop("network_", None)  # a training that fails leaves a model that is not fitted
        problem = read(
            cells,
            n_comps=self.recipe_.n_comps,
            max_value=self.recipe_.max_value,
            seed=int(rng.integers(2**31)),
            infer_below=self.recipe_.infer_below,
            columns=columns,
        )
        linked = LinkedCells.of(problem)
        if self.batch_size is None and isinstance(self.recipe, str):  # a recipe that was given is taken as it is
            self.recipe_ = recipe_of(self.recipe_, batch_size=size_of_batch(linked, self.recipe_))
        training, validation = hold_out(linked, self.recipe_, rng)
        if self.max_steps and not len(validation):  # as many steps as were asked for
            self.recipe_ = recipe_of(self.recipe_, cycles=min(self.recipe_.cycles, 1))
        require_batch(len(training), self.batch_size)
        self.preparations_ = {name: view.preparation for name, view in problem.modalities.items()}
        self.divisors_ = {name: input_scale(view, self.recipe_) for name, view in problem.modalities.items()}
        load = Loader(problem, self.divisors_, device, least=2 if self.recipe_.norm == "batch" else 1)
        width = widest(self.preparations_, self.recipe_)
        with on_threads(width), seeded(rng, device) as chance, joined(device) as n_processes:
            require_ranks(n_processes, self.recipe_)
            ensemble = ensemble_of(widths_of(self.preparations_), self.recipe_, chance).to(device)
            network = ensemble.members[0] if len(ensemble.members) == 1 else SideBySide(ensemble.members)
            network.low_precision = is_low_precision(width, min(self.recipe_.batch_size, len(training)), device)
            own_noise()
            if kept:
                kept.belongs_to(Origin.of(cells, problem, self.recipe_, device, start))
            n = network.n_networks
            fitted = fit(
                network,
                zip(*(draws(problem, linked, training, self.recipe_, rng) for _ in range(n)), strict=True),
                load,
                {name: loss_target(view, self.divisors_[name], device) for name, view in problem.modalities.items()},
                self.recipe_,
                steps_per_epoch=max(1, len(training) // self.recipe_.batch_size),
                validation=load(n * [Draw(linked.cells(validation), None, {})]) if len(validation) else None,
                checkpoint=kept,
            )
            if isinstance(network, SideBySide):
                network.give_back(ensemble.members)
            ensemble.eval()
            kernel_mixes = KernelMixes(ensemble, problem, self.divisors_) if self.recipe_.kernel_mix else None
            if kernel_mixes:
                kernel_mixes.choose(linked.cells(training), linked.cells(validation), rng)
            copy_from_first(ensemble)
        self.network_ = ensemble
        self.history_ = fitted.history.frame()
        judged = validation if len(validation) else training
        self.summary_ = Summary(
            cells="validation" if len(validation) else "training",
            best_step=int(fitted.best_step),
            seconds=float(fitted.seconds),
            n_steps=int(fitted.n_steps),
            interrupted=fitted.interrupted,
            rolled_back=fitted.n_rolled_back,
            diverged=fitted.diverged,
            scores=pair_scores(self, cells, problem, linked.cells(judged)),
        )
        self.seen_ = {name: _seen(cells, name, linked.cells(validation)[name]) for name in cells.names}
        if kernel_mixes and len(validation):
            kernel_mixes.refit(linked.cells(np.concatenate([training, validation])), rng)
        self.preparations_ = with_recovery(self, cells, problem, linked.cells(np.arange(len(linked))))
        left_out = kernel_mixes.left_out if kernel_mixes else {}
        self.source_errors_ = source_errors(problem, self.divisors_, left_out)
        of_several = left_out_of_several(cells.names, self.source_errors_, left_out)
        self.calibrations_, self.confidences_ = learned_of(self, cells, problem, {**left_out, **of_several})
        return self

    @in_turn()
    @isolated()
    def adapt(
        self,
        mdata: MuData | Cells,
        *,
        layer: Layers = None,
        feature_names: FeatureNames = None,
        key_added: str = "jamie",
    ) -> JAMIE:
        """Give a model that knows a new batch, donor or experiment, from its cells, with or without pairs.

        Without pairs a model that was trained with `batch_key` learns what the new batch changes in each feature of the
        modalities that are there, and takes it off as it does of the others; `tl.impute(batch=)` then knows it too.
        Cells of other batches stay as they are, bit for bit.

        With pairs the kernel regressions learn what the imputation leaves of them. Pairs that hold nothing new change
        nothing: each is left out in turn to see. Training cells that are kept as landmarks hold what is imputed for the
        reference: it is logged how far that moves, 0.1 sd on a public mosaic.

        The networks stay either way, so that the latents of the reference are bit for bit those of this model, which is
        not changed itself. Intervals stay those of the training.

        Parameters
        ----------
        mdata
            New cells: 20 or more of a new batch in a modality, or 10 or more with a partner. Those that
            :func:`jamie.pp.split` holds out are not learned from, nor are cells that the model has met.
        layer
            Layer that holds the values, as in :func:`jamie.tl.embed`.
        feature_names
            Names that the model has for the features, as in :func:`jamie.tl.embed`.
        key_added
            Prefix of the slots that are read.

        Returns
        -------
        Another model, which knows the new cells as learned from.

        Raises
        ------
        ValueError
            If there is neither a new batch nor 10 such pairs, or the recipe has no kernel regression for pairs.

        Examples
        --------
        >>> import jamie as jm
        >>> model = jm.JAMIE(max_steps=5).fit(jm.datasets.toy())
        >>> new = jm.datasets.toy(rng=1)
        >>> adapted = model.adapt(new)
        >>> bool((adapted.embed(new)["rna"] == model.embed(new)["rna"]).all())
        True
        """
        require_model(self)
        model = deepcopy(self)
        batches = new_batches(self.preparations_, mdata.mdata if isinstance(mdata, Cells) else mdata)
        model.preparations_ = with_new_batches(self.preparations_, batches)
        cells = model.open(mdata, layer=layer, feature_names=feature_names, key_added=key_added)
        told = learn_new_batches(model, cells, batches)
        if told:
            cells = model.open(cells.mdata, layer=layer, feature_names=feature_names, key_added=key_added)
        model.seen_ = adapt_kernel_mixes(model.network_, cells, model.divisors_, model.seen_, may_lack_pairs=bool(told))
        model.seen_ = model.seen_ | {
            name: with_lone_cells(model.seen_[name], cells, name, rows) for name, rows in told.items()
        }
        return model

    def embed(
        self,
        mdata: MuData | Cells,
        *,
        layer: Layers = None,
        feature_names: FeatureNames = None,
        key_added: str = "jamie",
    ) -> dict[str, Array]:
        """Latents μ of every cell by modality, (n, g) each, of the modalities that both model and `mdata` have."""
        cells = self.open(mdata, layer=layer, feature_names=feature_names, key_added=key_added)
        return {name: self.encode(cells.inputs(name), name) for name in cells.names}

    def impute(
        self,
        mdata: MuData | Cells,
        *,
        source: str | Sequence[str],
        target: str,
        features: Sequence[str] | None = None,
        layer: Layers = None,
        feature_names: FeatureNames = None,
        key_added: str = "jamie",
    ) -> Array:
        """Features of `target` for every cell of `source`, in imputed units, as `translate` gives them, (n, d).

        From several sources it is for every cell of the MuData, as `translate_jointly` gives them from those that the
        cell was measured in; NaN where it was measured in none.
        """
        cells = self.open(mdata, layer=layer, feature_names=feature_names, key_added=key_added)
        require_name(target, list(self.preparations_), name="target")
        if not isinstance(source, str):
            columns, sources = self.columns(target, features), SeveralSources.of(cells, source, target)
            width = len(self.preparations_[target].features[columns])
            imputed = np.full((cells.n_obs, width), np.nan, dtype=self.preparations_[target].dtype)
            imputed[sources.rows] = self.impute_jointly(sources, target, columns)
            return imputed
        require_name(source, list(cells.names), name="source", hint="it names a modality of the MuData and the model")
        return self.translate(cells.inputs(source), source, target, self.columns(target, features))

    def reconstruct(
        self, mdata: MuData | Cells, *, modality: str, layer: Layers = None, feature_names: FeatureNames = None
    ) -> Array:
        """Denoised features of a modality from its own latents, in imputed units, (n, d)."""
        cells = self.open(mdata, layer=layer, feature_names=feature_names)
        require_name(modality, list(cells.names), name="modality")
        return self.impute(cells, source=modality, target=modality)

    def open(
        self,
        mdata: MuData | Cells,
        *,
        layer: Layers = None,
        feature_names: FeatureNames = None,
        key_added: str = "jamie",
    ) -> Cells:
        """The MuData as this model reads it, checked."""
        return open_for_model(mdata, self, layer=layer, feature_names=feature_names, key_added=key_added)

    def columns(self, name: str, features: Sequence[str] | None) -> Array | slice:
        """Positions of named features in a modality of the model; all of them if `None`."""
        if features is None:
            return slice(None)
        known = {feature: i for i, feature in enumerate(self.preparations_[name].features)}
        wanted = require_names(features, name="features", example=known)
        if not wanted:
            msg = f"expected features of {name!r}, found none; pass some, such as {[next(iter(known))]}, or None"
            raise InvalidValueError(msg)
        return np.array([known[require_name(f, known, name=f"features of {name!r}")] for f in wanted], dtype=int)

    def positions(self, name: str, features: Sequence[str] | None) -> Array:
        """Positions of named features in a modality of the model, each once; of all of them if `None`."""
        named = None if features is None else list(dict.fromkeys(require_names(features, name="features")))
        return np.arange(len(self.preparations_[name].features))[self.columns(name, named)]

    def encode(self, inputs: Array, name: str) -> Array:
        """Latents μ of prepared inputs, (n, k) → (n, g)."""
        scale = self.divisors_[name]
        return by_rows(inputs, lambda x: self.network_.encode(name, x / scale)[0], self._device)

    def translate(self, inputs: Array, source: str, target: str, columns: Array | slice = slice(None)) -> Array:
        """Features of `target` from prepared inputs of `source`, in imputed units, (n, k) → (n, d).

        decode_target(μ_source), and the share of the kernel regression where there is one; what `impute` does with the
        cells of a MuData. `columns` are positions of features of `target`.
        """
        scale = self.divisors_[source]
        return by_rows(
            inputs,
            lambda x: self.network_.impute(source, target, x / scale),
            self._device,
            then=lambda scores, _: self._features(scores, target, columns),
        )

    def translate_jointly(
        self, inputs: Mapping[str, Array], target: str, columns: Array | slice = slice(None)
    ) -> Array:
        """Features of `target` from prepared inputs of the same cells in several sources, (n, k) each → (n, d).

        decode_target(Σ w μ_source) + Σ w correction_source, with the `source_weights` w.
        """
        if len(inputs) == 1:
            ((source, x),) = inputs.items()
            return self.translate(x, source, target, columns)
        latent, correction = self.joint(inputs, target)
        return self.decode(latent, target, columns, correction=correction)

    def joint(self, inputs: Mapping[str, Array], target: str) -> tuple[Array, Array]:
        """Latents of cells that were measured in several sources, and what the kernel regressions correct."""
        weights = self.source_weights(tuple(inputs), target).items()
        latent = sum(w * self.encode(inputs[name], name) for name, w in weights)
        correction = sum(w * self.correction(inputs[name], name, target) for name, w in weights)
        return np.asarray(latent, dtype=np.float32), np.asarray(correction, dtype=np.float32)

    def source_weights(self, sources: Sequence[str], target: str) -> dict[str, float]:
        """How much each source weighs in what is imputed from all of them; those of the aggregate if not judged."""
        if target in self.source_errors_:
            names = list(self.preparations_)
            weights = self.source_errors_[target].weights([names.index(name) for name in sources])
        else:
            learned = self.network_.weights
            weights = np.array([float(learned[name].detach().mean()) for name in sources])
            weights /= weights.sum()
        return {name: float(weight) for name, weight in zip(sources, weights, strict=True)}

    def impute_jointly(
        self, sources: SeveralSources, target: str, columns: Array | slice = slice(None), rows: slice = slice(None)
    ) -> Array:
        """Features of `target` of some of these cells, each from the sources that it was measured in, (n, d)."""
        n = len(sources.rows[rows])
        preparation = self.preparations_[target]
        imputed = np.empty((n, len(preparation.features[columns])), dtype=preparation.dtype)
        for members, inputs in sources.by_presence(rows):
            imputed[members] = self.translate_jointly(inputs, target, columns)
        return imputed

    def direction(self, sources: str | Sequence[str], target: str) -> Direction:
        """Sources in the order of the model, one by its name alone, and target: a key of `calibrations_`."""
        named = [sources] if isinstance(sources, str) else sources
        in_order = tuple(name for name in self.preparations_ if name in named)
        return (in_order[0] if len(in_order) == 1 else in_order), target

    def calibration(self, source: str | Sequence[str], target: str) -> Calibration:
        """How far off features of `target` may be that are imputed from `source`: gives intervals, and draws."""
        direction = self.direction(source, target)
        if direction in self.calibrations_:
            return self.calibrations_[direction]
        if direction[0] == target:
            why, remedy = "it is a reconstruction", "impute another modality"
        elif not self.recipe_.kernel_mix:
            why = f"the recipe {self.recipe_.name!r} has no kernel regression, by which it is calibrated"
            remedy = "train with recipe='default'"
        elif not isinstance(direction[0], str):
            several = " and ".join(map(repr, direction[0]))
            why = (
                f"fewer than {LEAST} training cells with a known partner in {target!r} were measured in {several} as "
                "well, to tell how far off it is"
            )
            remedy = f"impute from one of them, source={direction[0][0]!r}, or train on more such cells"
        else:
            why = f"fewer than {LEAST} known pairs of training cells tell how far off it is"
            remedy = "train on more pairs, or leave out `interval`, `n_samples` and `min_confidence`"
        shown = repr(direction[0]) if isinstance(direction[0], str) else " and ".join(map(repr, direction[0]))
        msg = f"expected a calibrated imputation, found {shown} → {target!r}, which is not: {why}; {remedy}"
        raise InvalidValueError(msg)

    def confidence_jointly(self, inputs: Mapping[str, Array], target: str) -> CellConfidence:
        """How sure it is what is imputed from several sources, and how new the cells are, of inputs (n, k) each.

        As `confidence` says it of one source. Novelty is the mean of that by each source, with the `source_weights`, in
        units of what one in twenty cells like those of the training exceeds.
        """
        if len(inputs) == 1:
            ((source, x),) = inputs.items()
            return self.confidence(x, source, target)
        calibration, direction = self.calibration(tuple(inputs), target), self.direction(tuple(inputs), target)
        learned, preparation = self.confidences_[direction], self.preparations_[target]
        latent, correction = self.joint(inputs, target)
        confidence = by_rows(
            latent,
            lambda l: self.network_.decode(target, l),
            self._device,
            then=lambda scores, rows: learned.confidence(
                (scores + correction[rows]) * self.divisors_[target], calibration, preparation
            ),
        )
        distances = {name: self.distance(x, name, target) for name, x in inputs.items()}
        weights = self.source_weights(tuple(inputs), target)
        return CellConfidence(
            confidence, learned.novelty(weighted_novelty(self.confidences_, distances, target, weights))
        )

    def confidence(self, inputs: Array, source: str, target: str) -> CellConfidence:
        """How sure it is what is imputed for each cell, and how new the cell is, of prepared inputs (n, k).

        Confidence is the share of calibration cells whose expected error is larger. Novelty is the mean distance to the
        10 nearest landmarks of the kernel regression, along its directions; above 1 the cell is further off than 19 in
        20 cells like those of the training.
        """
        calibration, scale = self.calibration(source, target), self.divisors_[source]
        learned, preparation = self.confidences_[source, target], self.preparations_[target]
        confidence = by_rows(
            inputs,
            lambda x: self.network_.impute(source, target, x / scale),
            self._device,
            then=lambda scores, _: learned.confidence(scores * self.divisors_[target], calibration, preparation),
        )
        return CellConfidence(confidence, self.novelty(inputs, source, target))

    def novelty(self, inputs: Array, source: str, target: str) -> Array:
        """How new each cell is, as `confidence` says it, (n,)."""
        self.calibration(source, target)
        return self.confidences_[source, target].novelty(self.distance(inputs, source, target))

    def distance(self, inputs: Array, source: str, target: str, itself: Array | None = None) -> Array:
        """Mean distance to the nearest landmarks of the kernel regression, (n, k) → (n,).

        `itself`, (n, k), are the inputs of the same cells as they were trained on: a cell is no landmark of its own.
        """
        scale, kernel_mix = self.divisors_[source], self._kernel_mix(source, target)
        if itself is None:
            return by_rows(inputs, lambda x: kernel_mix.distance(x / scale), self._device)
        k, both = inputs.shape[1], np.hstack([inputs, itself])
        return by_rows(both, lambda x: kernel_mix.distance(x[:, :k] / scale, x[:, k:] / scale), self._device)

    def decode(
        self, latent: Array, name: str, columns: Array | slice = slice(None), *, correction: Array | None = None
    ) -> Array:
        """Features of a modality from latents, in imputed units, (n, g) → (n, d).

        `correction`, (n, k), is added to the decoded components.
        """
        added = np.zeros((len(latent), 1), dtype=np.float32) if correction is None else correction
        return by_rows(
            latent,
            lambda l: self.network_.decode(name, l),
            self._device,
            then=lambda scores, rows: self._features(scores + added[rows], name, columns),
        )

    def correction(self, inputs: Array, source: str, target: str) -> Array:
        """What the kernel regression changes in the decoded components of `target`, (n, k); 0 where there is none."""
        scale = self.divisors_[source]
        return by_rows(inputs, lambda x: self.network_.correction(source, target, x / scale), self._device)

    def regressed(self, inputs: Array, source: str, target: str, columns: Array | slice = slice(None)) -> Array:
        """Features of `target` by the kernel regression alone, in imputed units, (n, k) → (n, d).

        Of an adapted model it carries the change for the networks too, and is no prediction by itself near new cells.
        """
        scale, kernel_mix = self.divisors_[source], self._kernel_mix(source, target)
        return self._features(by_rows(inputs, lambda x: kernel_mix.predict(x / scale), self._device), target, columns)

    @isolated()
    @torch.inference_mode()
    def aggregate(self, latents: Mapping[str, Array], known: Mapping[Pair, sparse.csr_matrix]) -> dict[str, Array]:
        """Latents after corresponding cells have met (eq. 3), on sparse correspondence."""
        weights = {name: weight.cpu() for name, weight in self.network_.weights.items()}
        tensors = {name: torch.from_numpy(l) for name, l in latents.items()}
        mixed = aggregate(tensors, meet(tensors, {pair: to_torch(f) for pair, f in known.items()}), weights)
        return {name: m.numpy() for name, m in mixed.items()}

    def arrays(self) -> Iterator[Array]:
        """All that its predictions rest on."""
        yield from (tensor.cpu().numpy() for tensor in self.network_.state_dict().values())
        for preparation in self.preparations_.values():
            yield from (preparation.loadings, *preparation.arrays().values())
            yield from (preparation.effects.arrays().values() if preparation.effects else ())
        for learned in (*self.calibrations_.values(), *self.confidences_.values()):
            yield from learned.arrays().values()
        for errors in self.source_errors_.values():
            yield from errors

    @property
    def fingerprint(self) -> str:
        """Digest of all `arrays`, which tells this model from others, the same after it was saved and loaded."""
        return digest(*self.arrays())[:16]

    @property
    def placement(self) -> str:
        """Digest of what its latents rest on, the same for copies of a model and for what was adapted of it."""
        weights = {k: v for k, v in self.network_.state_dict().items() if not k.startswith("kernel_mixes.")}
        arrays = [tensor.cpu().numpy() for tensor in weights.values()]
        for preparation in self.preparations_.values():
            own = preparation.arrays()
            arrays += [preparation.loadings, *(own[name] for name in own if name != "recovery")]
        return digest(*self.preparations_, *self.divisors_.values(), *arrays)[:16]

    @isolated()
    def save(self, path: str | Path) -> None:
        """Write the model to one file: tensors and JSON, no pickle.

        The file is there whole, or as it was before; who reads it meanwhile has the old one. Two processes that write
        one file at a time are an :class:`OSError` of the second. A model that is there is replaced; another file, which
        would be lost, is a :class:`ValueError`.
        """
        require_model(self)
        parameters = {key: value for key, value in self.get_params(deep=False).items() if key != "device"}
        parameters["recipe"] = self.recipe if isinstance(self.recipe, str) else None
        parameters["covariates"] = list(self.covariates)
        plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in parameters.items()}
        state = _persist.LearnedState(
            parameters={key: value for key, value in plain.items() if not isinstance(value, np.random.Generator)},
            recipe=self.recipe_,
            preparations=self.preparations_,
            calibrations=self.calibrations_,
            confidences=self.confidences_,
            source_errors=self.source_errors_,
            divisors=self.divisors_,
            seen=self.seen_,
            network=self.network_,
            history=self.history_,
            summary=self.summary_,
        )
        _persist.save(state, as_path(path, name="path"))

    @classmethod
    @isolated()
    def load(cls, path: str | Path, *, device: str | torch.device = "auto") -> JAMIE:
        """Read a model that `save` wrote; its parameters are those it was trained with."""
        where, state = resolve_device(device), _persist.load(as_path(path, name="path"))
        model = cls(**{**state.parameters, "recipe": state.parameters["recipe"] or state.recipe, "device": device})
        model.recipe_, model.network_ = state.recipe, state.network.to(where)
        model.preparations_, model.divisors_ = dict(state.preparations), dict(state.divisors)
        model.calibrations_, model.confidences_ = dict(state.calibrations), dict(state.confidences)
        model.source_errors_ = dict(state.source_errors)
        model.seen_, model.history_, model.summary_ = dict(state.seen), state.history, state.summary
        return model

    def _kernel_mix(self, source: str, target: str) -> KernelMix:
        kernel_mix = self.network_.kernel_mix(source, target)
        if kernel_mix is None:
            msg = f"expected a kernel regression from {source!r} to {target!r}, found none; take recipe='default'"
            raise InvalidValueError(msg)
        return kernel_mix

    def _features(self, scores: Array, name: str, columns: Array | slice) -> Array:
        preparation = self.preparations_[name]
        return preparation.inverse(scores * self.divisors_[name], columns).astype(preparation.dtype, copy=False)

    @property
    def _device(self) -> torch.device:
        return self.network_.device

    def __repr__(self) -> str:
        """What it is: modalities, kinds and features, cells, scores; or that it is not trained."""
        if not self.__sklearn_is_fitted__():
            name = self.recipe if isinstance(self.recipe, str) else self.recipe.name
            return f"JAMIE, recipe {name!r}, not trained: call jm.tl.train(mdata) or model.fit(mdata)"
        return described(self.summary_, self.recipe_, str(self._device), self.preparations_, self.seen_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")


def _seen(cells: Cells, name: str, validation: Array) -> SeenCells:
    """What each cell of a modality was to the training."""
    role = np.where(cells.role(name) == HELD_OUT, HELD_OUT, TRAIN)
    role[validation] = VALIDATION
    none = sparse.csr_matrix((len(role), 1))
    known = [none if other == name else cells.known_of_training(name, other) for other in cells.names]
    partners = np.column_stack([np.asarray(f.sum(axis=1)).ravel() > 0 for f in known])
    return SeenCells.of(cells.cells(name), cells.prepared(name).digests, role, partners)
