"""Reports of suites as JSON: short numbers, and a line for every group."""

import json

from training.evaluate.report_json import report_json

CONTENT = {"suite": "things", "groups": ({"mean": 0.123456789}, {"mean": 1e-7}), "tried": ()}


def test_every_item_of_a_list_has_a_line_and_floats_have_few_digits() -> None:
    text = report_json(CONTENT, lists=("groups", "tried"), digits=3)
    assert '\n {"mean": 0.123},\n {"mean": 1e-07}\n' in text
    assert text.endswith('"tried": []\n}\n')


def test_it_is_read_as_what_was_written() -> None:
    assert json.loads(report_json(CONTENT, lists=(), digits=3)) == {
        "suite": "things",
        "groups": [{"mean": 0.123}, {"mean": 1e-07}],
        "tried": [],
    }
