"""Turn a request's context into a bandit's segment, feature vectors, and the part of the context that is logged.

Router, simulator and off-policy evaluation use these functions. The vector of a decision can be computed again from its
logged context, and is then the same to the bit.

**Values.** A value is text, true, false or a number. Text that is empty, longer than 1,024 bytes or not Unicode is a
missing value. So are null, NaN, infinities, integers beyond 64 bits, lists and mappings. As text, a number is its
shortest decimal form (`7` for 7 and 7.0), and a boolean is `true` or `false`.

**Categories.** The bucket of a value is BLAKE2b with 8 bytes, read big-endian, over the feature's name, a zero byte and
the value's text, modulo `buckets`. A missing value has the bucket after those.

**Segments.** The texts of the bandit's segment keys are joined by `|`, and a missing value is `?`. In a text, `%`, `|`,
control characters, a leading `*` and the text `?` itself are written as `%` and two hex digits. Hence different values
have different segments, and none is `*` or `*holdback`. A segment has 1,024 bytes, which its keys share equally. A text
that does not fit its share is a missing value.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Bandit, Feature, feature_width

__all__ = ["FeatureEncoder", "logged_context", "segment_of"]

Float64s = npt.NDArray[np.float64]
Value = str | bool | int | float

# Limits of the decision record: an id in bytes of UTF-8, and a feature's magnitude.
_MOST_BYTES = 1_024
_LARGEST = 2.0**20
_ESCAPED = re.compile(r"^\*|[%|\x00-\x1f\x7f]")


class FeatureEncoder:
    """Encodes contexts for all arms of one bandit.

    The parts of a vector that an arm's attributes give are computed once. The part that the context gives is computed
    once per request.
    """

    def __init__(self, bandit: Bandit) -> None:
        self._width = feature_width(bandit)
        self._given, fixed = _Placed([], []), _Placed([], [])
        at = 0
        for feature in bandit.features:
            (fixed if feature.source == "model" else self._given).add(at, feature)
            at += feature.width
        attributes: list[Mapping[str, Any]] = [{}, *(arm.attributes for arm in bandit.arms.values())]
        self._fixed = np.array([self._vector(fixed, values) for values in attributes])
        self._row = {arm_id: row for row, arm_id in enumerate(bandit.arms, start=1)}

    def encode(self, arm_id: str, context: Mapping[str, Any]) -> Float64s:
        """Return the feature vector of an arm, float64 [width].

        The attributes of an arm that the bandits file does not name are missing values.
        """
        vector: Float64s = self._fixed[self._row.get(arm_id, 0)] + self._vector(self._given, context)
        return vector

    def encode_arms(self, arm_ids: Sequence[str], context: Mapping[str, Any]) -> Float64s:
        """Return the feature vectors of several arms, float64 [arms, width]."""
        rows = np.array([self._row.get(arm_id, 0) for arm_id in arm_ids], np.intp)
        vectors: Float64s = self._fixed[rows] + self._vector(self._given, context)
        return vectors

    def _vector(self, placed: _Placed, values: Mapping[str, Any]) -> Float64s:
        vector = [0.0] * self._width  # setting one number of a list is faster than in an array
        for at, name, scale, most in placed.numbers:
            given = values.get(name)
            if type(given) is not float:
                given = _value(given)
                if given is None or isinstance(given, (str, bool)):
                    continue
            number = given / scale
            if -most <= number <= most:
                vector[at] = number
            elif math.isfinite(given):
                vector[at] = most if number > most else -most
        for at, feature in placed.others:
            value = _value(values.get(feature.name))
            if feature.buckets is None:
                vector[at] = float(value is True)
            else:
                vector[at + (feature.buckets if value is None else _bucket(feature, _text(value)))] = 1.0
        return np.array(vector)


class _Placed(NamedTuple):
    """Features with their places in the vector. `numbers` has the place, name, scale and limit of numeric features."""

    numbers: list[tuple[int, str, float, float]]
    others: list[tuple[int, Feature]]

    def add(self, at: int, feature: Feature) -> None:
        if feature.scale is None:
            self.others.append((at, feature))
        else:
            self.numbers.append((at, feature.name, feature.scale, _LARGEST if feature.max is None else feature.max))


def segment_of(bandit: Bandit, context: Mapping[str, Any]) -> str:
    """Return the segment of a context: `*` for a bandit without segment keys."""
    keys = bandit.segments
    if not keys:
        return "*"
    room = (_MOST_BYTES - len(keys) + 1) // len(keys)
    return "|".join([_part(context.get(key), room) for key in keys])


def logged_context(bandit: Bandit, context: Mapping[str, Any]) -> dict[str, Value]:
    """Return the part of a context that may be logged: the values of declared segment and feature keys.

    Missing values are left out. Their encoding is the same.
    """
    logged: dict[str, Value] = {}
    for key in bandit.segments:
        if (value := _value(context.get(key))) is not None:
            logged[key] = value
    for feature in bandit.features:
        if feature.source == "model":
            continue
        given = context.get(feature.name)
        value = given if type(given) is float and math.isfinite(given) else _value(given)
        if value is not None:
            logged[feature.name] = value
    return logged


def _value(value: Any) -> Value | None:
    """Return a value as JSON can hold it, or None for a missing value."""
    if type(value) is str and value.isascii():  # most values
        return value if 0 < len(value) <= _MOST_BYTES else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return str.__str__(value) if _is_short_unicode(value) else None
    if isinstance(value, int):  # true and false, too
        return value if -(2**63) <= value < 2**63 else None
    if not isinstance(value, np.generic):
        return None
    plain = value.item()
    return None if isinstance(plain, np.generic) else _value(plain)  # Python has no longdouble


def _is_short_unicode(text: str) -> bool:
    if text.isascii():
        return 0 < len(text) <= _MOST_BYTES
    try:
        return len(text.encode()) <= _MOST_BYTES
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if value == int(value) and abs(value) < 2**63 else repr(value)


def _part(value: Any, room: int) -> str:
    if type(value) is str and len(value) <= room:  # most values, which the cache knows
        return _text_part(value, room)
    given = _value(value)
    return "?" if given is None else _text_part(_text(given), room)


@functools.lru_cache(maxsize=4_096)
def _text_part(text: str, room: int) -> str:
    """Escape the text of one key, or return `?` if it is no value or the result is longer than `room` bytes."""
    if not _is_short_unicode(text):
        return "?"
    escaped = "%3F" if text == "?" else _ESCAPED.sub(_hex, text)
    return escaped if len(escaped.encode()) <= room else "?"


def _hex(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


@functools.lru_cache(maxsize=16_384)
def _bucket(feature: Feature, text: str) -> int:
    digest = hashlib.blake2b(f"{feature.name}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (feature.buckets or 1)
