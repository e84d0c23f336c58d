"""What each hyper-parameter of a grid does: effects, importance, interactions.

An analysis of variance of validation accuracies. The axes that were swept are factors.
The seeds are blocks, as all points of a seed share its randomness. What is left, the
spread of a point's seeds around what the seeds have in common, is the noise: one
variance for the whole study, with many degrees of freedom.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from mnistopt.axes import tell_apart
from mnistopt.data.classes import natural
from mnistopt.results.columns import varying_axes
from mnistopt.results.compare import holm, tukey
from mnistopt.results.tables import ERROR_RATE, FINISHED

# Beyond, least squares takes seconds.
MOST_COLUMNS = 1000
SEEDS, OTHERS, NOISE = "seeds", "other interactions", "chance"
# Of calling the spread of one point's seeds larger than that of the others' where it is
# not (Cochran's test): rare, as pooling is robust to much of it.
UNEVEN = 0.01


class Effects(NamedTuple):
    """What the axes of a study do to the validation accuracy.

    Attributes:
        terms: A row per source of variation, the largest share first: its name `term`;
            the number of `axes` in it (1, 2 for an interaction, 0 for others); `df`;
            the `square_sum` (type II); its `share` of the total; and `p`, that of the
            F test against the noise, nan without noise.
        values: A row per value of an axis, axes with the largest share first and values
            ascending: `axis`, `value` (text), `number` (nan for words), and `mean`, the
            accuracy by least squares, over equally many of each other axis' values.
            Means whose `low` to `high` do not overlap differ at 5 %, with Tukey's
            correction for the axis' values.
        differences: A row per pair of values of an axis: `axis`, `better`, `worse`, the
            `difference` of their means, at least 0, and the ends `low` and `high` of
            Tukey's interval: all of an axis contain the truth in 95 % of studies.
        std: Standard deviation of the noise; nan if there is none to measure.
        df: Degrees of freedom of the noise.
        confounded: Axes that were not varied independently of others, so that the means
            of their values cannot be estimated; they are in no `values`.
        uneven: The point whose seeds spread so much more than those of others that one
            variance does not describe them; "" for none.
    """

    terms: pd.DataFrame
    values: pd.DataFrame
    differences: pd.DataFrame
    std: float
    df: int
    confounded: tuple[str, ...]
    uneven: str


class _Fit(NamedTuple):
    """A least squares fit: its residual square sum and its rank."""

    rss: float
    rank: int


def find_effects(trials: pd.DataFrame) -> Effects | None:
    """Returns what the axes of a study do to the validation accuracy.

    Square sums are of type II: a term is fitted after all terms that do not contain it.
    Of a full grid with equal seeds they add up to the total. A test compares them with
    statsmodels' `anova_lm`.

    Args:
        trials: The table of trials; those that have finished count, each replica once,
            after most epochs.

    Returns:
        The effects; None if no axis varies, or the fit has more than `MOST_COLUMNS`
        columns.
    """
    done = trials[trials["status"] == FINISHED].sort_values("epochs", kind="stable")
    done = done.drop_duplicates("replica", keep="last").reset_index(drop=True)
    axes = varying_axes(done) if len(done) else []
    if not axes:
        return None
    levels = {axis: ascending(done[axis]) for axis in axes}
    pairs = list(itertools.combinations(axes, 2))
    sizes = {axis: len(levels[axis]) for axis in axes}
    columns = done["point"].nunique() + done["seed"].nunique() + sum(sizes.values())
    if columns + sum(sizes[a] * sizes[b] for a, b in pairs) > MOST_COLUMNS:
        return None
    blocks: dict[Any, np.ndarray] = {
        SEEDS: _columns(done["seed"], done["seed"].unique())
    }
    blocks |= {axis: _columns(done[axis], levels[axis]) for axis in axes}
    blocks |= {(a, b): _products(blocks[a], blocks[b]) for a, b in pairs}
    # Fields that some networks lack are part of what a network is.
    nested = [axis for axis in axes if done[axis].isna().any()]
    accuracy = done["validation_accuracy"].to_numpy(float)
    centred = accuracy - accuracy.mean()

    seeds, points = blocks[SEEDS], _columns(done["point"], done["point"].unique())
    cells = _fit([seeds, points], centred)
    df = len(done) - cells.rank
    # Rounding leaves something where there is no noise.
    variance = cells.rss / df if df and cells.rss > 1e-20 * len(done) else math.nan
    terms = _terms(blocks, centred, cells, nested, variance)
    means, covariance, places = _means(done, blocks, levels, nested, variance)
    order = [axis for axis in terms[terms["axes"] == 1]["term"] if (axis, 0) in places]
    values, differences = _compared(order, levels, means, covariance, places, df)
    return Effects(
        terms,
        values,
        differences,
        math.sqrt(variance),
        df,
        tuple(axis for axis in axes if axis not in order),
        _uneven(done, centred) if variance > 0 else "",
    )


def _terms(
    blocks: dict[Any, np.ndarray],
    centred: np.ndarray,
    cells: _Fit,
    nested: Sequence[str],
    variance: float,
) -> pd.DataFrame:
    """Returns `Effects.terms`, given the fit of all points and the noise."""

    def fit(names: Iterable[Any]) -> _Fit:
        return _fit([blocks[name] for name in names], centred)

    df, rows = len(centred) - cells.rank, []
    for term in blocks:
        after = [
            name
            for name in blocks
            if name == term or not _parts(term) <= _widened(name, term, nested)
        ]
        with_it, without = fit(after), fit(name for name in after if name != term)
        axes = 0 if term == SEEDS else len(_parts(term))
        words = term if isinstance(term, str) else " x ".join(term)
        rows.append(
            (words, axes, with_it.rank - without.rank, without.rss - with_it.rss)
        )
    rest = fit(blocks)
    rows.append((OTHERS, 0, cells.rank - rest.rank, rest.rss - cells.rss))
    rows.append((NOISE, 0, df, cells.rss))
    terms = pd.DataFrame(rows, columns=["term", "axes", "df", "square_sum"])
    terms = terms[terms["df"] > 0]
    terms["square_sum"] = terms["square_sum"].clip(lower=0)  # of rounding
    ratios = terms["square_sum"] / terms["df"] / variance
    p = special.fdtrc(terms["df"], max(df, 1), ratios)
    terms["p"] = np.where(terms["term"].eq(NOISE), math.nan, p)
    total = float(centred @ centred)
    terms["share"] = terms["square_sum"] / total if total else 0.0
    return terms.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def ascending(column: pd.Series) -> list[Any]:
    """Returns the values of an axis, ascending; 8 before 16x16 in words, too.

    Args:
        column: The axis, of a table of trials or points.
    """
    values = column.dropna().drop_duplicates()
    if column.dtype.kind in "biuf":
        return values.sort_values().tolist()
    return sorted(values.tolist(), key=natural)


def _columns(column: pd.Series, levels: Iterable[Any]) -> np.ndarray:
    """Returns a column of 0 and 1 per level; rows that have none of them are 0."""
    # Missing values equal nothing, whatever stands for them.
    equal = [column.eq(level).fillna(False) for level in levels]
    return np.array([rows.to_numpy(bool) for rows in equal], float).T


def _parts(term: Any) -> set[str]:
    """Returns the axes of a term."""
    return {term} if isinstance(term, str) else set(term)


def _widened(name: Any, term: Any, nested: Sequence[str]) -> set[str]:
    """Returns the axes of a term, and the network's if it has a nested field."""
    fields = set(nested)
    inner = _parts(name) & fields and not _parts(term) & fields
    return _parts(name) | ({"model"} if inner else set())


def _products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns a column per pair of values that occurs."""
    both = (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)
    return both[:, both.any(axis=0)]


def _fit(blocks: Sequence[np.ndarray], values: np.ndarray) -> _Fit:
    design = np.hstack([np.ones((len(values), 1)), *blocks])
    found, _, rank, _ = np.linalg.lstsq(design, values)
    residuals = values - design @ found
    return _Fit(float(residuals @ residuals), int(rank))


def _means(
    done: pd.DataFrame,
    blocks: dict[Any, np.ndarray],
    levels: dict[str, list[Any]],
    nested: Sequence[str],
    variance: float,
) -> tuple[np.ndarray, np.ndarray, dict[tuple[str, int], int]]:
    """Returns the least squares means of all values of axes, without interactions.

    Each weighs all values of the other axes equally, and each network the same.

    Returns:
        The means [V]; their covariance [V, V]; and the place of each (axis, number of
        its value), without axes whose means cannot be estimated.
    """
    accuracy = done["validation_accuracy"].to_numpy(float)
    axes = list(levels)
    parts = [np.ones((len(done), 1)), blocks[SEEDS], *(blocks[axis] for axis in axes)]
    # The networks and their own fields as they occur together.
    kinds = [axis for axis in axes if axis in nested or (nested and axis == "model")]
    first = done.drop_duplicates(kinds).index if kinds else done.index[:1]
    sizes = done.loc[first].groupby("model")["model"].transform("size")

    def contrast(axis: str, place: int) -> np.ndarray:
        chosen = list(first)
        if axis in kinds:
            chosen = [i for i in chosen if blocks[axis][i, place]]
        weights = 1 / sizes.loc[chosen].to_numpy()
        weights = weights / weights.sum()
        rows = [np.ones(1), np.full(blocks[SEEDS].shape[1], 1 / blocks[SEEDS].shape[1])]
        for other in axes:
            count = blocks[other].shape[1]
            if other in kinds:
                rows.append(weights @ blocks[other][chosen])
            elif other == axis:
                rows.append(np.eye(count)[place])
            else:
                rows.append(np.full(count, 1 / count))
        return np.concatenate(rows)

    keys = [(axis, place) for axis in axes for place in range(len(levels[axis]))]
    contrasts = np.array([contrast(*key) for key in keys])
    design = np.hstack(parts)
    hat = contrasts @ np.linalg.pinv(design)
    # A contrast beyond what the rows span would get an invented mean.
    known = np.isclose(hat @ design, contrasts).all(axis=1)
    lost = {axis for (axis, _), fine in zip(keys, known) if not fine}
    places = {key: i for i, key in enumerate(keys) if key[0] not in lost}
    return hat @ accuracy, variance * (hat @ hat.T), places


def _compared(
    order: Sequence[str],
    levels: dict[str, list[Any]],
    means: np.ndarray,
    covariance: np.ndarray,
    places: dict[tuple[str, int], int],
    df: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns `Effects.values` and `Effects.differences`."""
    values: list[tuple] = []
    differences: list[tuple] = []
    for axis in order:
        texts, chosen = tell_apart(levels[axis]), levels[axis]
        at = [places[axis, number] for number in range(len(chosen))]
        spread = np.diag(covariance)
        factor = tukey(len(chosen), df)
        widths = []
        for i, j in itertools.combinations(at, 2):
            better, worse = (i, j) if means[i] >= means[j] else (j, i)
            square = spread[i] + spread[j] - 2 * covariance[i, j]
            error = float(np.sqrt(np.maximum(0, square)))
            difference, half = means[better] - means[worse], factor * error
            widths.append(half)
            names = (texts[chosen[at.index(k)]] for k in (better, worse))
            ends = difference - half, difference + half
            differences.append((axis, *names, difference, *ends))
        half = float(np.max(widths)) / 2
        for value, place in zip(chosen, at):
            counts = isinstance(value, (int, float)) and not isinstance(value, bool)
            number = float(value) if counts else math.nan
            ends = means[place] - half, means[place] + half
            values.append((axis, texts[value], number, means[place], *ends))
    of_values = ["axis", "value", "number", "mean", "low", "high"]
    of_pairs = ["axis", "better", "worse", "difference", "low", "high"]
    return (
        pd.DataFrame(values, columns=of_values),
        pd.DataFrame(differences, columns=of_pairs),
    )


def _uneven(done: pd.DataFrame, accuracy: np.ndarray) -> str:
    """Returns the point whose seeds spread more than one variance explains, or "".

    By Cochran's test (1941) of the largest variance, after what the seeds have in
    common is removed. It takes equally many seeds, and has no power below five points.
    """
    table = done.assign(accuracy=accuracy).pivot(
        index="seed", columns="point", values="accuracy"
    )
    n, count = table.shape
    if n < 2 or count < 5 or table.isna().any(axis=None):
        return ""
    variances = table.sub(table.mean(axis=1), axis=0).var()
    if not variances.sum():
        return ""
    largest = variances.max() / variances.sum()
    ratio = largest * (count - 1) / (1 - largest) if largest < 1 else math.inf
    p = count * special.fdtrc(n - 1, (count - 1) * (n - 1), ratio)
    return str(variances.idxmax()) if p < UNEVEN else ""


# Axes that are named, at most.
_NAMED = 4
# An interaction below this share of the variance changes no recommendation.
_NOTABLE = 0.02


def effects_in_words(effects: Effects | None) -> list[str]:
    """Returns what the axes do, in a sentence or two; none without several seeds."""
    if effects is None or not effects.std > 0:
        return []
    parts, axes = [], list(effects.values["axis"].unique())
    p = effects.terms[effects.terms["axes"] == 1].set_index("term")["p"]
    corrected = dict(zip(axes, holm([p[axis] for axis in axes])))
    for axis in axes[:_NAMED]:
        apart = effects.differences[effects.differences["axis"] == axis]
        shown = apart[apart["low"] > 0]
        if corrected[axis] < ERROR_RATE and len(shown):
            largest = shown.loc[shown["difference"].idxmax()]
            # The first axis is named ahead of its sentence, if there are others.
            name = "" if axis == axes[0] and len(axes) > 1 else f"{axis} "
            parts.append(
                f"{name}{largest['better']} beats {largest['worse']} by "
                f"{100 * largest['difference']:.2f} points "
                f"({100 * largest['low']:.2f} to {100 * largest['high']:.2f})"
            )
        else:
            bound = 100 * apart[["low", "high"]].abs().to_numpy().max()
            parts.append(f"{axis} makes no difference larger than {bound:.2f} points")
    found = []
    if parts:
        matters = len(axes) > 1 and " beats " in parts[0]
        found.append(f"{axes[0]} matters most: " * matters + "; ".join(parts) + ".")
    if effects.confounded:
        names = ", ".join(effects.confounded)
        found.append(
            f"The effect of {names} cannot be separated from that of other axes: they "
            "were not varied independently."
        )
    for first, second, share in interactions(effects):
        found.append(
            f"The effect of {first} depends on {second}: their interaction is "
            f"{100 * share:.0f} % of the variance."
        )
    return found


def interactions(effects: Effects | None) -> list[tuple[str, str, float]]:
    """Returns the pairs of axes that depend on each other, with their shares.

    Those that are larger than noise at 5 %, corrected for the number of pairs, and not
    too small to change a recommendation.
    """
    if effects is None:
        return []
    pairs = effects.terms[effects.terms["axes"] == 2]
    notable = (pairs["p"] * len(pairs) < ERROR_RATE) & (pairs["share"] > _NOTABLE)
    found = []
    for _, pair in pairs[notable].iterrows():
        first, second = pair["term"].split(" x ")
        found.append((first, second, float(pair["share"])))
    return found
