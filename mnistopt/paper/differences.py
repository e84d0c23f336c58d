"""Every row against the best of its table: seed by seed, and image by image."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from mnistopt.paper.frames import finished_seeds, rivals, row_name
from mnistopt.paper.plan import Cell
from mnistopt.results.stats import holm, mcnemar, paired_difference


def make_differences(
    tables: Mapping[int, pd.DataFrame],
    cells: Sequence[Cell],
    seeds: pd.DataFrame,
    vote_is_right: Callable[[Cell], np.ndarray],
) -> pd.DataFrame:
    """Returns a row per row that is not the best of its rivals (differences.csv).

    Args:
        tables: By number, from `frames.make_table`; the best is chosen by validation.
        cells: The rows of all tables.
        seeds: From `frames.collect_seeds`.
        vote_is_right: Says of a row which test images the vote of its seeds has right,
            bool [N].

    Returns:
        The table, the row and the best one; their difference of test accuracy, paired
        by seed, with the ends of its 95 % interval, n, the p values of the paired t
        and permutation tests, and the former corrected among the rivals of the best
        (Holm); and on how many images the vote of all seeds of one alone is right,
        with McNemar's p value.
    """
    rows: list[dict[str, object]] = []
    for number, table in tables.items():
        mine = [cell for cell in cells if cell.table == number]
        for group in dict.fromkeys(map(rivals, mine)):
            members = [i for i, cell in enumerate(mine) if rivals(cell) == group]
            best = [i for i in members if table["choice"].iloc[i] == "best"]
            if best:
                others = [mine[i] for i in members if i != best[0]]
                rows += _against(mine[best[0]], others, seeds, vote_is_right)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


_COLUMNS = (
    *("table", "row", "part", "best", "difference", "low", "high", "n"),
    *("p", "p_permutation", "p_holm"),
    *("vote_alone_right", "best_vote_alone_right", "p_mcnemar"),
)


def _against(
    best: Cell,
    others: Sequence[Cell],
    seeds: pd.DataFrame,
    vote_is_right: Callable[[Cell], np.ndarray],
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    p_values = []
    of_best = finished_seeds(seeds, best)["test_accuracy"]
    for cell in others:
        own = finished_seeds(seeds, cell)["test_accuracy"]
        pair = pd.concat([own, of_best], axis=1, join="inner").to_numpy()
        if not len(pair):
            continue
        found = paired_difference(pair[:, 0], pair[:, 1])
        votes = mcnemar(vote_is_right(cell), vote_is_right(best))
        p_values.append(found.p)
        rows.append(
            {
                "table": cell.table,
                "row": row_name(cell),
                "part": cell.part,
                "best": row_name(best),
                "difference": found.interval.mean,
                "low": found.interval.low,
                "high": found.interval.high,
                "n": found.interval.n,
                "p": found.p,
                "p_permutation": found.p_permutation,
                "vote_alone_right": votes.only_one,
                "best_vote_alone_right": votes.only_other,
                "p_mcnemar": votes.p,
            }
        )
    return [row | {"p_holm": p} for row, p in zip(rows, holm(p_values))]
