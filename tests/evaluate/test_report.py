"""What the page and the terminal show of an evaluation: headline, what was left out, charts and activity classes."""

from __future__ import annotations

import dataclasses
import html
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipelines.evaluate.dataset import Counts
from pipelines.evaluate.plots import spread
from pipelines.evaluate.report import render
from pipelines.evaluate.summary import BUCKET_USERS, Bucket, Evaluation, ModelResult, bucket_label, bucket_ranges
from pipelines.evaluate.sums import BUCKETS, Moments
from pipelines.evaluate.terminal import print_evaluation
from transforms.ranking.metrics import columns

KS = (20, 100)
COUNTS = Counts(
    protocol="fold_in",
    train_rows=900,
    holdout_rows=120,
    train_users=80,
    train_items=50,
    users_evaluated=40,
    users_empty_holdout=3,
    users_without_history=0,
    users_also_in_train=0,
    targets=111,
    targets_unknown_to_train=0,
    targets_in_history=7,
)


def result(name: str, kind: str, quality: float) -> ModelResult:
    """A model whose every metric is `quality`, and 0.02 behind the reference."""
    metrics = dict.fromkeys(columns(KS), Moments(quality, 0.01))
    shares = dict.fromkeys(KS, quality)
    return ModelResult(
        name, kind, "somewhere", metrics, dict.fromkeys(columns(KS), Moments(-0.02, 0.005)), shares, shares,
        dict.fromkeys(KS, 0), 0, (Bucket("1-9", 30, metrics), Bucket("10+", 10, metrics)),
    )  # fmt: skip


def evaluation(*models: ModelResult, counts: Counts = COUNTS) -> Evaluation:
    return Evaluation(KS, counts, "ease", models, (), ())


OURS = (result("cf", "neighbors", 0.3), result("vae", "saved_model", 0.4))
BASELINES = (result("ease", "baseline", 0.42), result("popularity", "baseline", 0.1))


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_the_headline_names_our_best_model_beside_the_best_baseline() -> None:
    page = render(evaluation(*OURS, *BASELINES))
    [headline] = re.findall(r"<h1>(.*?)</h1>", page)
    assert headline == "vae 0.4000, best baseline ease 0.4200 on ndcg@100"
    assert "The difference is -0.0200 with a 95% interval of -0.0298 to -0.0102. The interval leaves out zero." in page


def test_without_a_model_of_ours_the_headline_is_the_best_baseline() -> None:
    [headline] = re.findall(r"<h1>(.*?)</h1>", render(evaluation(*BASELINES)))
    assert headline == "ease is the best baseline: 0.4200 on ndcg@100"


def test_what_was_left_out_stands_by_the_number_that_it_changes() -> None:
    page = render(evaluation(*OURS, *BASELINES))
    facts = [" ".join(text_of(fact).split()) for fact in re.findall(r'<div class="fact">(.*?)</div>', page, re.DOTALL)]
    assert facts[0] == "40 users evaluated 3 more left out: no item to find"
    assert facts[1] == "111 held-out items to find 7 more left out: the history already holds them"
    assert page.count("more left out") == 2
    nothing = dataclasses.replace(COUNTS, users_empty_holdout=0, targets_in_history=0)
    assert "left out:" not in render(evaluation(*OURS, *BASELINES, counts=nothing))


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_says_what_was_left_out_and_has_no_recall_plain(width: int, capsys, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.evaluate.terminal._console", lambda: Console(width=width))
    print_evaluation(evaluation(*OURS, *BASELINES))
    told = " ".join(capsys.readouterr().out.split())
    assert "left out: 3 users without an item to find and 7 held-out items that the history already holds" in told
    assert "recall@20" in told and "recall_plain" not in told


def test_every_chart_is_a_picture_of_its_own_that_a_telephone_can_show() -> None:
    """Four metrics, activity, coverage and popularity; 331 points are 442 pixels, scaled to the page's width."""
    page = render(evaluation(*OURS, *BASELINES))
    widths = [float(width) for width in re.findall(r'<svg [^>]*width="([\d.]+)pt"', page)]
    assert len(widths) == 7 and max(widths) <= 332
    assert "repeat(auto-fit, minmax(min(100%, 420px), 1fr))" in page  # 390 pixels hold one


def test_the_points_of_breadth_carry_the_names_of_their_models() -> None:
    section = re.search(r"<h2>Breadth</h2>(.*?)</section>", render(evaluation(*OURS, *BASELINES)), re.DOTALL)
    assert section
    charts = re.findall(r"<svg.*?</svg>", section[1], re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        assert "legend" not in chart
        assert all(re.search(rf">{model.name}</text>", chart) for model in (*OURS, *BASELINES))


def test_the_page_counts_the_users_of_every_activity_class() -> None:
    words = text_of(render(evaluation(*OURS, *BASELINES)))
    assert "history users vae ease 1-9 30 0.4000 0.4200 10+ 10 0.4000 0.4200" in words


@pytest.mark.parametrize(
    ("users", "labels"),
    [
        ([0, 104, 367, 734, 660, 67, 2, 0], ["1-4", "5-9", "10-19", "20-49", "50-199"]),
        ([5, 0, 40, 0, 0, 0, 0, 31], ["0-9", "200+"]),
        ([10, 10, 10, 29, 1, 0, 0, 0], ["0-9", "10-49"]),
        ([1, 2, 0, 0, 0, 0, 0, 0], ["0-4"]),
        ([30, 0, 29, 0, 30, 0, 0, 0], ["0", "5-49"]),
    ],
)
def test_classes_of_few_users_are_merged_with_a_neighbor(users: list[int], labels: list[str]) -> None:
    assert [bucket_label(first, last) for first, last in bucket_ranges(users)] == labels


@given(st.lists(st.integers(0, 70), min_size=len(BUCKETS), max_size=len(BUCKETS)))
def test_merged_classes_hold_every_user_once_and_enough_of_them(users: list[int]) -> None:
    ranges = bucket_ranges(users)
    held = [sum(users[first : last + 1]) for first, last in ranges]
    assert sum(held) == sum(users)
    assert all(left[1] < right[0] for left, right in itertools.pairwise(ranges))
    assert all(users[first] and users[last] for first, last in ranges)
    assert min(held, default=BUCKET_USERS) >= BUCKET_USERS or len(held) == 1


@given(st.lists(st.floats(0, 1), max_size=14))
def test_labels_are_moved_apart_and_keep_their_order(heights: list[float]) -> None:
    moved = spread(heights, gap=0.1)
    gap = min(0.1, 1 / max(1, len(heights) - 1))
    order = sorted(range(len(heights)), key=lambda place: -heights[place])
    down = np.array([moved[place] for place in order])
    assert ((down >= -1e-9) & (down <= 1 + 1e-9)).all()
    assert (down[:-1] - down[1:] >= gap - 1e-9).all()


def test_labels_that_are_apart_stay_where_they_belong() -> None:
    assert spread([0.2, 0.9, 0.5], gap=0.1) == [0.2, 0.9, 0.5]
