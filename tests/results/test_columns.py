"""The columns of hyper-parameters: which a table has, and their types."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.points import ALWAYS
from mnistopt.results.columns import axes_of, columns, network_axes, typed
from mnistopt.results.tables import summary_table, trials_table
from mnistopt.study.grid import grid


def test_a_table_of_named_networks_has_the_columns_it_always_had():
    points = grid(model=["mlp", "cnn"], lr=[0.1, 0.2])
    assert columns(points) == columns(points[:1]) == columns([]) == ALWAYS


def test_what_a_network_of_ones_own_is_told_stands_with_the_networks(make_record):
    import flax.linen as nn

    class Net(nn.Module):
        width: int = 4
        name_of_act: str = "relu"

        @nn.compact
        def __call__(self, images):
            return nn.Dense(10)(images.reshape(len(images), -1))

    points = grid(model=[Net(), Net(width=5), "mlp"])
    names = columns(points)
    assert set(names) == {*ALWAYS, "width", "name_of_act"}
    assert names.index("dense") < names.index("width") < names.index("optimizer")
    trials = trials_table([make_record(point) for point in points])
    for table in (trials, summary_table(trials)):
        assert axes_of(table) == list(names)
        assert network_axes(table) == [
            "hidden",
            "channels",
            "dense",
            "width",
            "name_of_act",
        ]
    assert trials["width"].tolist() == [4, 5, pd.NA]


@pytest.mark.parametrize(
    ("values", "kinds", "dtype", "found"),
    [
        (["1", "2", None], {"number"}, "float64", [1.0, 2.0, None]),
        (["1", "2", None], {"text"}, "object", ["1", "2", None]),
        (["NA", "null", None], {"text"}, "object", ["NA", "null", None]),
        (["007", "1e3"], {"text"}, "object", ["007", "1e3"]),
        (["True", None], {"truth"}, "boolean", [True, None]),
        ([True, None, False], {"truth"}, "boolean", [True, None, False]),
        (["16777217", None], {"whole"}, "Int64", [16777217, None]),
        ([1, 0.5, None], {"whole", "number"}, "float64", [1.0, 0.5, None]),
        ([1, "a", True], {"whole", "text", "truth"}, "object", ["1", "a", "True"]),
        ([None, None], {"truth"}, "boolean", [None, None]),
    ],
)
def test_columns_are_what_is_declared(values, kinds, dtype, found):
    column = pd.Series(values, dtype=object)
    table = pd.DataFrame({"model": "Net", "kind": column, "epochs": 1})
    column = typed(table, {"kind": kinds})["kind"]
    assert str(column.dtype) in {dtype, dtype.replace("object", "str")}
    assert [None if pd.isna(one) else one for one in column] == found


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**40)), min_size=1, max_size=5))
def test_whole_numbers_stay_as_they_are(values):
    table = pd.DataFrame({"model": "Net", "width": pd.Series(values, dtype=object)})
    table["epochs"] = 1
    found = typed(table, {})["width"]
    if any(value is not None for value in values):
        assert [None if pd.isna(v) else int(v) for v in found] == values
