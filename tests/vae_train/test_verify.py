"""Whether the check of an exported model lets right answers pass and no others: `verify.compare` on answers made here.

The answers of a right model are made by the slow obvious loops; every test then breaks them in one way. That a written
model is really asked, in a process of its own, is `test_export`'s.
"""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from pipelines.vae_train.export.verify import NOT_AN_ID, Expected, compare, make_requests, run_fresh
from transforms.errors import RecbeamError

WIDTH = 6
IDS = [f"item{n:02d}" for n in range(12)]


def make_expected() -> Expected:
    """Item 5 is not available; the last history is without a known item, its scores are popularity."""
    scores = np.random.default_rng(4).normal(-5, 2, (4, len(IDS))).astype(np.float32)
    scores[3] = np.arange(len(IDS))[::-1]
    histories = [["item01", "item02"], IDS[:9], [NOT_AN_ID, "item05"], [NOT_AN_ID]]
    return Expected(IDS, np.array([one != "item05" for one in IDS]), histories, scores)


def right_answers(expected: Expected, requests: list[dict]) -> dict[str, np.ndarray]:
    answers = {}
    for number, request in enumerate(requests):
        rows = []
        for row, scores in enumerate(expected.scores):
            by_id = dict(zip(expected.ids, scores.tolist(), strict=True))
            inputs = {name: values[row] for name, values in request["inputs"].items()}
            if "candidates" in inputs:
                rows.append(([], [by_id.get(one, -math.inf) for one in inputs["candidates"]]))
                continue
            gone = {*inputs["history"], *inputs.get("exclude", ()), "item05"}
            best = sorted((one for one in by_id if one not in gone), key=lambda one: (-by_id[one], one))[:WIDTH]
            pads = WIDTH - len(best)
            rows.append((best + [""] * pads, [by_id[one] for one in best] + [-math.inf] * pads))
        answers[f"{number}/scores"] = np.array([scores for _, scores in rows], np.float32)
        if "candidates" not in request["inputs"]:
            answers[f"{number}/items"] = np.array([items for items, _ in rows], np.bytes_)
    return answers


@pytest.fixture
def case() -> tuple[Expected, list[dict], dict[str, np.ndarray]]:
    expected = make_expected()
    requests = make_requests(expected)
    return expected, requests, right_answers(expected, requests)


def test_a_right_model_passes_also_with_fewer_items_left_than_places(case):
    expected, requests, answers = case
    assert compare(requests, answers, expected, WIDTH) == ""
    assert (answers["0/items"][1] == b"").any()  # 9 of 12 known, one not available


def test_requests_ask_for_masked_unknown_and_padded_items(case):
    _, requests, _ = case
    assert [one["signature"] for one in requests] == ["serving_default", "filtered", "score_items"]
    assert [len(row) for row in requests[1]["inputs"]["exclude"]] == [3] * 4
    candidates = requests[2]["inputs"]["candidates"][2]
    assert NOT_AN_ID in candidates and "" in candidates and "item05" in candidates
    assert all(len(row) == 9 for row in requests[0]["inputs"]["history"])


def test_float_noise_passes_and_items_as_close_as_that_may_change_places(case):
    expected, requests, answers = case
    expected.scores[0, 3], expected.scores[0, 4] = 2.0, 2.00001
    answers = right_answers(expected, requests)
    answers["0/items"][0, :2] = answers["0/items"][0, 1::-1]
    answers["0/scores"] = answers["0/scores"] * np.float32(1 + 1e-6)
    assert compare(requests, answers, expected, WIDTH) == ""


def swap(answers, requests):
    answers["0/items"][0, [0, 3]] = answers["0/items"][0, [3, 0]]


def swap_with_scores(answers, requests):
    for name in ("0/items", "0/scores"):
        answers[name][0, [0, 3]] = answers[name][0, [3, 0]]


def serve_the_second_best_first(answers, requests):
    """As if the best item were lost: everything moves up and the list ends one earlier."""
    for name, pad in (("0/items", b""), ("0/scores", -np.inf)):
        answers[name][0] = np.append(answers[name][0, 1:], np.array(pad, answers[name].dtype))


def shift_scores(answers, requests):
    answers["2/scores"] += np.float32(1e-2)


def score_unknown_items(answers, requests):
    row = requests[2]["inputs"]["candidates"][0]
    answers["2/scores"][0, row.index(NOT_AN_ID)] = -20.0


def lose_a_known_item(answers, requests):
    answers["2/scores"][0, 0] = -np.inf


def not_a_number(answers, requests):
    answers["0/scores"][2, 1] = np.nan


def pad_with_a_score(answers, requests):
    answers["0/scores"][1, -1] = -30.0


def pad_with_an_item(answers, requests):
    answers["0/items"][1, -1] = b"item01"


def repeat_an_item(answers, requests):
    for name in ("0/items", "0/scores"):
        answers[name][0, 1] = answers[name][0, 0]


def narrow(answers, requests):
    answers["1/scores"] = answers["1/scores"][:, :-1]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (swap, "serving_default, history .* has the score"),
        (swap_with_scores, "for this place"),
        (serve_the_second_best_first, "items instead of 6"),
        (shift_scores, "score_items, history"),
        (score_unknown_items, "the trained weights give -inf"),
        (lose_a_known_item, "has the score -inf"),
        (not_a_number, "has the score nan"),
        (pad_with_a_score, "padding"),
        (pad_with_an_item, "items instead of 3"),
        (repeat_an_item, "is repeated"),
        (narrow, r"filtered returns shape \(4, 5\), not \(4, 6\)"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_answer_is_named(break_it, says, case):
    expected, requests, answers = case
    break_it(answers, requests)
    with pytest.raises(AssertionError, match=says):
        assert compare(requests, answers, expected, WIDTH) == ""


@pytest.mark.parametrize(("signature", "row", "item"), [(0, 0, "item02"), (1, 0, "excluded"), (0, 2, "item05")])
def test_an_item_that_must_not_be_recommended_is_found(signature, row, item, case):
    """One of the history, one excluded, one not available: with its right score, at its right place."""
    expected, requests, answers = case
    if item == "excluded":
        item = requests[1]["inputs"]["exclude"][row][0]
    expected.scores[row, IDS.index(item)] = score = 100.0
    for name, value in (("items", item.encode()), ("scores", score)):
        found = answers[f"{signature}/{name}"][row]
        answers[f"{signature}/{name}"][row] = np.append(np.array([value], found.dtype), found[:-1])
    others = {name: array for name, array in right_answers(expected, requests).items() if name[0] != str(signature)}
    assert f"place 1 has '{item}', which must not be recommended" in compare(
        requests, answers | others, expected, WIDTH
    )


def test_a_model_that_cannot_be_loaded_fails_with_the_last_words_of_the_other_process(tmp_path):
    with pytest.raises(RecbeamError, match=r"(?s)fails in a fresh process.*SavedModel file does not exist"):
        run_fresh(tmp_path / "nowhere", tmp_path, [])


def test_the_check_itself_imports_no_tensorflow():
    code = "import sys, pipelines.vae_train.export.verify; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
