"""Layouts are read, and what is wrong with one is said."""

import json

import pytest

from mnistopt.errors import InputError
from mnistopt.study.fields.layout import make_layout, read_layout

FIELD = {"name": "a", "box": [1, 2, 30, 10]}


def test_a_layout_is_what_its_file_says(tmp_path):
    (tmp_path / "class.csv").write_text('number;name\n311;Ada\n"405";Alan\n\n')
    (tmp_path / "blank.png").write_bytes(b"")
    given = {
        "page": [210, 297],
        "marks": [[1, 1], [209, 1], [209, 296], [1, 296]],
        "blank": "blank.png",
        "fields": [
            {**FIELD, "list": "class.csv", "cells": 3},
            {"name": "b", "box": [1, 20, 30, 10], "max": 10.5, "optional": True},
            {"name": "c"},
        ],
        "sums": [{"total": "b", "of": ["a"]}],
    }
    (tmp_path / "layout.json").write_text(json.dumps(given))
    layout = read_layout(tmp_path / "layout.json")
    first, second, third = layout.fields
    assert first.rule.among == ("311", "405") and first.cells == 3
    assert first.box == (1, 2, 30, 10) and not first.optional
    assert second.optional and second.rule.number and second.rule.decimals == 1
    assert third.box is None and layout.page == (210, 297)
    assert layout.sums[0].of == ("a",) and layout.blank == tmp_path / "blank.png"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "expected an object"),
        ({}, "has no fields"),
        ({"fields": []}, "has no fields"),
        ({"fields": [3]}, r"fields\[0\] is 3"),
        ({"fields": [{"box": [1, 2, 3, 4]}]}, "has no name"),
        ({"fields": [FIELD, FIELD]}, "two fields called 'a'"),
        ({"fields": [{**FIELD, "bx": 1}]}, "did you mean box"),
        ({"fields": [{**FIELD, "box": [1, 2, 3]}]}, "expected 4 numbers"),
        ({"fields": [{**FIELD, "box": [1, 2, 0, 4]}]}, "has no size"),
        ({"page": [20, 20], "fields": [FIELD]}, "outside of the page"),
        ({"page": [0, 20], "fields": [FIELD]}, "page is"),
        ({"marks": [[1, 1]] * 4, "fields": [FIELD]}, "marks need the page"),
        ({"page": [50, 50], "marks": [[1, 1]], "fields": [FIELD]}, "four points"),
        ({"blank": "none.png", "fields": [FIELD]}, "blank needs the page"),
        ({"page": [50, 50], "blank": "none.png", "fields": [FIELD]}, "is no file"),
        ({"fields": [{**FIELD, "digits": 0}]}, "digits is"),
        ({"fields": [{**FIELD, "digits": [3, 2]}]}, "least, most"),
        ({"fields": [{**FIELD, "max": "ten"}]}, "expected a number"),
        ({"fields": [{**FIELD, "min": 5, "max": 3}]}, "min=5 is above max=3"),
        ({"fields": [{**FIELD, "step": 0}]}, "step is 0"),
        ({"fields": [{**FIELD, "out_of": True}]}, "out_of needs a max"),
        ({"fields": [{**FIELD, "out_of": "yes"}]}, "true or false"),
        ({"fields": [{**FIELD, "list": []}]}, "holds no numbers"),
        ({"fields": [{**FIELD, "list": "gone.csv"}]}, "cannot be read"),
        ({"fields": [{**FIELD, "list": ["311", "4O5"]}]}, "holds no numbers"),
        ({"fields": [{**FIELD, "digits": 400}]}, "whole number to 40"),
        ({"fields": [{**FIELD, "box": [0, 0, float("inf"), 9]}]}, "expected 4"),
        ({"fields": [{**FIELD, "min": 1000, "digits": [1, 2]}]}, "nothing is allowed"),
        ({"fields": [FIELD], "sums": 5}, "expected a list"),
        ({"fields": [FIELD], "sums": [{"total": "a", "of": ["a"]}]}, "of its own sum"),
        ({"fields": [{**FIELD, "list": ["1"], "max": 3}]}, "a list says all"),
        ({"fields": [{**FIELD, "check": "lun"}]}, "check is 'lun'"),
        ({"fields": [{**FIELD, "check": "luhn", "max": 3}]}, "check digits are of"),
        ({"fields": [{**FIELD, "cells": -1}]}, "expected a whole number"),
        ({"fields": [FIELD], "sums": [{"total": "b", "of": ["a"]}]}, "is no field"),
        ({"fields": [FIELD], "sums": [{"total": "a", "of": "a"}]}, "of a list"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_is_wrong_with_a_layout_is_said(given, words):
    with pytest.raises(InputError, match=words):
        make_layout(given)


def test_files_that_are_no_layouts_are_named(tmp_path):
    with pytest.raises(InputError, match="is not there; draw one"):
        read_layout(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_layout(tmp_path / "broken.json")
