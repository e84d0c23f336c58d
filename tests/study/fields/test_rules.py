"""What fields may hold: written texts and their values, check digits, lists."""

import itertools
from decimal import Decimal

import pytest

from mnistopt.study.fields.layout import make_layout
from mnistopt.study.fields.rules import date, iban, luhn, weighted


def rule(**said):
    layout = make_layout({"fields": [{"name": "a", "box": [0, 0, 9, 9], **said}]})
    return layout.fields[0].rule


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ({"digits": 3}, {"007": "007", "12": None, "1234": None}),
        ({"digits": [1, 2]}, {"7": "7", "07": "07", "": None}),
        (
            {"max": 10, "step": 0.5},
            {
                **{"7": "7", "7,5": "7.5", "10": "10", "0": "0", "0,5": "0.5"},
                **{"10,5": None, "11": None, "7,3": None, "07": None, ",5": None},
                **{"7,0": "7", "7,50": None, "7,": None},
            },
        ),
        (
            {"max": 8, "step": 0.5, "out_of": True},
            {"7,5/8": "7.5", "7/8": "7", "7": "7", "7/9": None, "7/": None, "/8": None},
        ),
        (
            {"decimals": 2, "max": 99999.99},
            {
                **{"12,50": "12.5", "1,234,56": "1234.56", "1234,56": "1234.56"},
                **{"7": "7", "7,5": None, "12,34,56": None, "123456,00": None},
            },
        ),
        ({"list": ["311", "405"]}, {"311": "311", "312": None, "31": None}),
        ({"min": 5, "max": 7}, {"4": None, "5": "5", "7": "7", "8": None}),
        ({"digits": 4, "check": "luhn"}, {"1230": "1230", "1231": None}),
    ],
    ids=lambda part: str(part)[:40],
)
def test_texts_have_values_or_are_not_allowed(said, values):
    held = rule(**said)
    for text, value in values.items():
        assert held.value(text) == value
        if value is not None:
            # Whatever is allowed is found from its beginning on.
            assert all(held.begins(text[:k]) for k in range(1, len(text) + 1))


@pytest.mark.parametrize(
    "said",
    [
        {"digits": [1, 3]},
        {"max": 20, "step": 0.5},
        {"max": 12},
        {"list": ["12", "7", "112"]},
    ],
    ids=str,
)
def test_how_much_is_allowed_is_counted(said):
    """The values of all texts, of which each has its usual form."""
    held = rule(**said)
    texts = [
        "".join(t)
        for n in range(1, 5)
        for t in itertools.product("0123456789,", repeat=n)
    ]
    values = {held.value(text) for text in texts} - {None}
    assert held.count == len(values)
    if held.among is None and not held.decimals:
        exact = sum(10.0 ** -len(t) for t in texts if held.value(t) is not None)
        assert held.measure == pytest.approx(exact)


def test_check_digits_are_those_of_their_standards():
    assert luhn("79927398713") and not luhn("79927398710")
    # The example of ISO 13616's registry.
    assert iban("DE")("89370400440532013000")
    assert not iban("DE")("98370400440532013000")
    # ISBN-13 of "The Art of Computer Programming", volume 1.
    isbn = weighted((1, 3), 10)
    assert isbn("9780201896831") and not isbn("9780201896832")
    assert date("29022024") and not date("29022023") and not date("01132020")


def test_checks_let_pass_what_they_say():
    digits = [f"{k:04}" for k in range(10_000)]
    for said in ("luhn", {"weights": [1, 3], "modulus": 10}):
        held = rule(digits=4, check=said)
        passing = sum(held.value(text) is not None for text in digits)
        assert held.passing == pytest.approx(passing / len(digits))
    dates = rule(digits=8, check="date").passing
    years = 200 * 365 + 49
    assert dates == pytest.approx(years / 10**8)


def test_a_number_is_written_with_a_comma_only_if_it_may_have_decimals():
    assert "," not in rule(max=12).symbols and "," in rule(max=12, step=0.5).symbols
    assert "/" not in rule(max=12).symbols
    assert rule(max=12, out_of=True).symbols[-1] == "/"
    assert rule(max=Decimal("12.75")).decimals == 2
