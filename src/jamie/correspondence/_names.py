"""Names of cells that would be the same but for how they are written, and the line of code that makes them so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from jamie._types import Pair

MOST_SAMPLED = 5_000  # names of each side; a change that is found is then made to all of them
FEWEST_SHARE = 0.25  # of its cells that a change must match: two samples share 1 or 2 % of their barcodes by chance
MOST = 0.9  # of the names have an affix that is dropped: with fewer, it names one of several samples
SEPARATOR = re.compile(r"[^0-9A-Za-z]")


@dataclass(frozen=True)
class NameChange:
    """A change of names after which cells of two modalities have the same.

    Attributes
    ----------
    n_matched
        Cells with a partner after the change.
    n_cells
        Cells of the smaller modality.
    example
        A name of each modality, as they are now, that the change makes the same.
    code
        Lines of Python that make the change in `mdata`.
    """

    n_matched: int
    n_cells: int
    example: Pair
    code: str

    def __str__(self) -> str:
        """Say what would match, and how to make it so."""
        return (
            f"written alike, {self.n_matched} of {self.n_cells} would have a partner, as {self.example[0]!r} and "
            f"{self.example[1]!r}; if these are the same cells, run {self.code}"
        )


@dataclass(frozen=True)
class _Step:
    """One change of a name, and the code for a whole index of them."""

    code: str
    apply: Callable[[str], str]
    dropped: str = ""  # what a constant affix was


_Names = Sequence[list[str]]  # of both sides
_Steps = tuple[_Step, ...]
_BothSteps = tuple[_Steps, _Steps]


class _Candidate(NamedTuple):
    """Steps for both sides, how many names of the sample they make the same, and how much they change."""

    n_matched: int
    cost: float
    steps: _BothSteps


def mend_names(rows: pd.Index, columns: pd.Index, modalities: Pair) -> NameChange | None:
    """Find the change of case, separators, prefixes and suffixes that matches most cells; `None` if none matches many.

    It must match a quarter of the smaller modality and twice as many as match now, leave names unique, and leave more
    than a number, for rows are counted from 0 in every table; unless what it drops is the name of the modality.
    """
    names = [[str(name) for name in side] for side in (rows, columns)]
    n_cells, shared = min(map(len, names)), set(names[0]) & set(names[1])
    if n_cells < 2 or 2 * len(shared) >= n_cells:
        return None
    rest = [[name for name in side if name not in shared] for side in names]
    rng = np.random.default_rng(0)  # a sample, so that a million names take no minutes
    sampled = [[side[i] for i in rng.permutation(len(side))[:MOST_SAMPLED]] for side in rest]
    most = min(map(len, sampled)) * min(1.0, MOST_SAMPLED / max(map(len, rest)))
    best: _Candidate | None = None
    for spelling in _spellings(sampled):
        best = max([c for c in (best, _best_affixes(sampled, spelling, modalities)) if c], default=None, key=_rank)
        if best is not None and best.n_matched >= 0.9 * most and best.cost <= 1:
            break
    return None if best is None else _confirmed(names, modalities, best.steps, len(shared))


def nothing_shared(names: Mapping[str, pd.Index], pairs: Sequence[Pair]) -> str:
    """Say that no name is shared by these pairs of modalities, show one of each, and what would mend the first it can.

    `names` holds those of the cells of each modality.
    """
    for a, b in pairs:
        change = mend_names(names[a], names[b], (a, b))
        if change is not None:
            return f"no cell name is shared; {change}"
    a, b = pairs[0]
    return (
        f"no cell name is shared, they look like {_first(names[a])} in {a!r} and {_first(names[b])} in {b!r}; call "
        "jm.pp.correspondence(mdata, pairs=...) if you know which cells are the same, or "
        "jm.pp.infer_correspondence(mdata) if you do not"
    )


def _best_affixes(names: _Names, spelling: _BothSteps, modalities: Pair) -> _Candidate | None:
    """Of the ways to shorten the names of both sides, after a spelling, the one that matches most."""
    spelt = [[_applied(steps, name) for name in side] for steps, side in zip(spelling, names, strict=True)]
    choices = [
        [(own + affixes, {_applied(affixes, name) for name in side}) for affixes in _affixes(side)]
        for own, side in zip(spelling, spelt, strict=True)
    ]
    candidates = []
    for (steps_a, a), (steps_b, b) in product(*choices):
        steps = steps_a, steps_b
        shared = [name for name in a & b if _says_something(name, steps, modalities)]
        if shared:
            dangling = any(SEPARATOR.match(name) or SEPARATOR.match(name[-1]) for name in shared)
            candidates.append(_Candidate(len(shared), len(steps_a) + len(steps_b) + dangling, steps))
    return max(candidates, default=None, key=_rank)


def _rank(candidate: _Candidate) -> tuple[int, float]:
    return candidate.n_matched, -candidate.cost


def _confirmed(names: _Names, modalities: Pair, steps: _BothSteps, n_shared: int) -> NameChange | None:
    """Apply the change to all names, and give it if it matches enough and leaves them unique."""
    changed = [[_applied(own, name) for name in side] for own, side in zip(steps, names, strict=True)]
    if any(len(set(side)) < len(side) for side in changed):
        return None
    at = {name: i for i, name in enumerate(changed[1])}
    ends = [(i, at[name]) for i, name in enumerate(changed[0]) if name in at]
    n_cells = min(map(len, names))
    if len(ends) < max(2, 2 * n_shared, FEWEST_SHARE * n_cells):
        return None
    lines = [
        f"mdata.mod[{name!r}].obs_names = mdata[{name!r}].obs_names{''.join(step.code for step in own)}"
        for name, own in zip(modalities, steps, strict=True)
        if own
    ]
    i, j = next(((i, j) for i, j in ends if names[0][i] != names[1][j]), ends[0])
    code = "; ".join([*lines, "mdata = mudata.MuData(dict(mdata.mod))"])
    return NameChange(len(ends), n_cells, (names[0][i], names[1][j]), code)


def _spellings(names: _Names) -> Iterable[_BothSteps]:
    """Steps for both sides that make separators, case, and spaces around names the same: none, each, and all."""
    strip = _both(names, _Step(".str.strip()", str.strip))
    separators = _separators(names)
    to_upper = any(not _changes(side, str.upper) for side in names)
    case = _Step(".str.upper()", str.upper) if to_upper else _Step(".str.lower()", str.lower)
    kinds = [kind for kind in (strip, separators, _both(names, case)) if any(kind)]
    yield (), ()
    for n in range(1, 2 ** len(kinds)):
        chosen = [kind for i, kind in enumerate(kinds) if n >> i & 1]
        yield tuple(step for kind in chosen for step in kind[0]), tuple(step for kind in chosen for step in kind[1])


def _both(names: _Names, step: _Step) -> _BothSteps:
    """The step for each side that it changes."""
    a, b = ((step,) if _changes(side, step.apply) else () for side in names)
    return a, b


def _separators(names: _Names) -> _BothSteps:
    """Replace what stands between letters and digits by one separator, that of a side that has only one."""
    used = [Counter(SEPARATOR.findall("".join(side))) for side in names]
    if len(used[0].keys() | used[1].keys()) < 2:
        return (), ()
    target = next((next(iter(kinds)) for kinds in reversed(used) if len(kinds) == 1), "-")
    a, b = (_replaced(sorted(kinds.keys() - {target}), target) for kinds in used)
    return a, b


def _replaced(others: list[str], target: str) -> _Steps:
    """Replace several characters by one; nothing where there are none."""
    if not others:
        return ()
    if len(others) == 1:
        code = f".str.replace({others[0]!r}, {target!r}, regex=False)"
        return (_Step(code, lambda name: name.replace(others[0], target)),)
    pattern = f"[{re.escape(''.join(others))}]"
    code = f".str.replace({pattern!r}, {target!r}, regex=True)"
    return (_Step(code, lambda name: re.sub(pattern, lambda _: target, name)),)


def _affixes(names: list[str]) -> list[_Steps]:
    """Ways to shorten names: prefixes and suffixes of most, both, and what stands before or after a separator."""
    common = _common_prefix(names), _common_prefix([name[::-1] for name in names])[::-1]
    starts: list[_Steps] = [(), *((_prefix(affix),) for affix in _frequent(names, _prefixes, common[0]))]
    ends: list[_Steps] = [(), *((_suffix(affix),) for affix in _frequent(names, _suffixes, common[1]))]
    for c, _ in Counter(SEPARATOR.findall("".join(names))).most_common(3):
        if sum(c in name for name in names) >= MOST * len(names):
            starts += [(_part(c, how, -1),) for how in ("split", "rsplit")]
            ends += [(_part(c, how, 0),) for how in ("split", "rsplit")]
    return [start + end for start, end in product(starts, ends)]


def _frequent(names: list[str], parts: Callable[[str], list[str]], common: str) -> list[str]:
    """Affixes that most names have, and those of what all have in common."""
    counts = Counter(part for name in names for part in parts(name))
    return list(dict.fromkeys(parts(common) + [part for part, n in counts.most_common(6) if n >= MOST * len(names)]))


def _common_prefix(names: list[str]) -> str:
    first, last = min(names), max(names)
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:n]


def _prefixes(common: str) -> list[str]:
    """Parts of what all names begin with that may be dropped: up to each separator, letters, and all of it."""
    ends = {match.end() for match in re.finditer(r"^[A-Za-z]+|[^0-9A-Za-z]", common)} | {len(common)}
    return [common[:end] for end in sorted(ends - {0})]


def _suffixes(common: str) -> list[str]:
    """Parts of what all names end with that may be dropped: from each separator, small letters, and all of it."""
    starts = {match.start() for match in re.finditer(r"[^0-9A-Za-z]|[a-z]+$", common)} | {0}
    return [common[start:] for start in sorted(starts - {len(common)}, reverse=True)]


def _part(separator: str, how: str, at: int) -> _Step:
    return _Step(f".str.{how}({separator!r}, n=1).str[{at}]", lambda name: getattr(name, how)(separator, 1)[at])


def _prefix(affix: str) -> _Step:
    return _Step(f".str.removeprefix({affix!r})", lambda name: name.removeprefix(affix), affix)


def _suffix(affix: str) -> _Step:
    return _Step(f".str.removesuffix({affix!r})", lambda name: name.removesuffix(affix), affix)


def _says_something(name: str, steps: _BothSteps, modalities: Pair) -> bool:
    """Whether a name is more than the number of a row, or was one with the name of its modality."""
    if re.search("[A-Za-z]", name):
        return True
    dropped = [[SEPARATOR.sub("", step.dropped).lower() for step in own if step.dropped] for own in steps]
    own = [SEPARATOR.sub("", modality).lower() for modality in modalities]
    return any(dropped) and all(set(parts) <= {key} for parts, key in zip(dropped, own, strict=True)) and bool(name)


def _applied(steps: Sequence[_Step], name: str) -> str:
    for step in steps:
        name = step.apply(name)
    return name


def _changes(names: list[str], change: Callable[[str], str]) -> bool:
    return any(change(name) != name for name in names)


def _first(names: pd.Index) -> str:
    return repr(str(names[0])) if len(names) else "none"
