"""Lines of records for the tests of reading them: good, odd and broken ones, as hypothesis strategies."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from serving_client.contracts.times import format_time

DECISION = {
    "decision_id": "d1",
    "bandit_id": "home_row",
    "policy_epoch": 3,
    "segment": "free|de",
    "arm_id": "popular",
    "arm_generation": 2,
    "propensity": 0.25,
    "decided_at": "2026-11-24T06:00:00.000001Z",
}
REWARD = {
    "event_id": "e1",
    "decision_id": "d1",
    "kind": "click",
    "value": 1,
    "occurred_at": "2026-11-24T06:00:01.5Z",
}


class Raw(str):
    """Text that stands in JSON as it is."""


def written(value: Any, draw_space: str = "", ascii_only: bool = False) -> str:
    """A value as JSON; objects are lists of pairs, so that a key may come twice."""
    gap = draw_space
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, tuple):
        inner = (f"{written(k, gap, ascii_only)}{gap}:{gap}{written(v, gap, ascii_only)}" for k, v in value)
        return "{" + gap + f"{gap},{gap}".join(inner) + gap + "}"
    if isinstance(value, dict):
        return written(tuple(value.items()), gap, ascii_only)
    if isinstance(value, list):
        return "[" + f"{gap},{gap}".join(written(each, gap, ascii_only) for each in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


digits = st.text("0123456789", min_size=1, max_size=25).map(lambda text: text.lstrip("0") or "0")
number_texts = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(0, 1).map(repr),
    st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), digits, st.text("0123456789", min_size=1, max_size=25)),
    st.builds("{}{}e{}".format, digits, st.sampled_from(["", ".0", ".50"]), st.integers(-330, 330)),
    st.builds("0.{}{}".format, st.integers(0, 8).map("0".__mul__), digits),
    st.sampled_from(
        ["-0", "-0.0", "1.0", "100", "0.1000000", "9999999999999999.9", "1e400", "1e16", "NaN", "-Infinity"]
    ),
    st.just("1" * 400),
).map(Raw)
texts = st.text(max_size=6) | st.sampled_from(
    ["", "a\nb", "a\rb", "a\0b", 'say "a"', "back\\", "\ud800", "é" * 513, "x" * 1025]
)
values = st.recursive(
    st.none() | st.booleans() | number_texts | texts,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(texts, inner), max_size=3).map(tuple),
    max_leaves=6,
)
moments = st.integers(1_795_500_000_000_000, 1_795_500_000_000_000 + 20_000_000).map(format_time)
times = st.one_of(
    moments,
    moments.map(lambda text: text[:-1] + "+00:00"),
    moments.map(lambda text: text[:19] + "Z"),
    st.builds("{}.{}Z".format, moments.map(lambda text: text[:19]), st.text("0123456789", max_size=8)),
    st.sampled_from(["0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]),
    st.sampled_from(["2024-02-29T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-24T24:00:00Z", "2016-12-31T23:59:60Z"]),
    st.sampled_from(
        ["2026-11-24 06:00:00Z", "2026-11-24T06:00:00", "2026-11-24T06:00:00+01:00", "２026-11-24T06:00:00Z"]
    ),
)
ids = st.text("abö01", min_size=1, max_size=3)
_GOOD: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("decision_id", "event_id", "segment", "item_id", "user_key"), ids),
    **dict.fromkeys(("bandit_id", "arm_id", "served_by", "kind", "feature_schema"), st.sampled_from(["a", "b", "ö"])),
    **dict.fromkeys(("policy_epoch", "arm_generation", "snapshot_version", "position"), st.integers(-2, 3)),
    **dict.fromkeys(("decided_at", "occurred_at", "received_at"), moments),
    "propensity": st.floats(0, 1) | st.sampled_from([0, 1, Raw("1.0"), Raw("0.5000")]),
    "value": st.integers(-(10**9), 10**9) | st.integers(-(10**15), 10**15).map(lambda micro: micro / 10**6),
    "propensities": st.dictionaries(ids, st.floats(0, 1) | st.integers(0, 1), max_size=3),
    "eligible_arms": st.lists(ids, max_size=3),
    "items": st.lists(ids, max_size=3),
    "features": st.lists(st.floats(-(2**20), 2**20) | st.integers(-9, 2**20), max_size=3),
    "bot": st.booleans(),
    "holdback": st.booleans(),
    "draw": st.floats(0, 1),
    "rung": st.sampled_from(["fresh", "disk"]),
    "config_hash": ids,
    "fallback_reason": texts.filter(lambda text: "\ud800" not in text),
    "model_version": st.integers(0, 9) | ids,
    "context": st.dictionaries(ids, ids | st.integers(), max_size=3),
    "unknown": st.lists(st.integers(0, 9) | ids, max_size=2),
}


@st.composite
def fields(draw: st.DrawFn, required: dict[str, Any], optional: list[str]) -> list[tuple[str, Any]]:
    """The fields of a record: mostly good, at times with something odd."""
    names = [*required, *draw(st.lists(st.sampled_from([*optional, "unknown"]), max_size=5, unique=True))]
    pairs = [(name, draw(_GOOD[name])) for name in draw(st.permutations(names))]
    for change in draw(st.lists(st.sampled_from(["value", "time", "drop", "twice", "null"]), max_size=1)):
        at = draw(st.integers(0, len(pairs) - 1))
        name = pairs[at][0]
        if change == "drop":
            del pairs[at]
        elif change == "twice":
            pairs.append((name, draw(_GOOD[name] | values)))
        elif change == "time":
            pairs.append((draw(st.sampled_from(["received_at", "decided_at", "occurred_at"])), draw(times)))
        else:
            pairs[at] = (name, None if change == "null" else draw(values))
    return pairs


@st.composite
def lines(draw: st.DrawFn, required: dict[str, Any], optional: list[str]) -> bytes:
    """One line without its LF."""
    kind = draw(st.sampled_from(["good"] * 6 + ["text", "deep", "cut", "bytes", "blank"]))
    if kind == "blank":
        return draw(st.sampled_from([b"", b" ", b"\r", b"\t \r"]))
    if kind == "bytes":
        return draw(st.binary(max_size=30)).replace(b"\n", b"")
    if kind == "text":
        return written(draw(values)).encode("utf-8", "surrogatepass").replace(b"\n", b"")
    pairs = draw(fields(required, optional))
    if kind == "deep":
        depth = draw(st.sampled_from([1, 252, 253, 254, 1_100, 100_000]))
        opening, closing = draw(st.sampled_from([("[", "]"), ('{"a":', "}")]))
        pairs.append(("unknown", Raw(opening * depth + "1" + closing * depth)))
    text = written(tuple(pairs), draw(st.sampled_from(["", "", " ", "\t"])), draw(st.booleans()))
    line = text.encode("utf-8", "surrogatepass") + draw(st.sampled_from([b"", b"\r", b" "]))
    if kind == "cut":
        at = draw(st.integers(0, len(line)))
        line = (
            line[:at] + draw(st.sampled_from([b"", b'"', b"\xff", b"{", b"]"])) + line[at + draw(st.integers(0, 3)) :]
        )
    return line


@st.composite
def chunks(draw: st.DrawFn, required: dict[str, Any], optional: list[str]) -> bytes:
    """Some lines, the last perhaps without its LF."""
    some = draw(st.lists(lines(required, optional), max_size=8))
    return b"\n".join(some) + draw(st.sampled_from([b"\n", b""]))
