"""Encode the publisher's state, which a runner keeps between messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipelines.reward_stream import encoding
from pipelines.reward_stream.publishing.messages import decode_message, encode_message
from pipelines.reward_stream.sources.reports import SourceReport
from pipelines.reward_stream.totals.totals import TotalsState
from transforms.attribution.joining.delta import FoldResult
from transforms.dead_letters import DeadLetter

__all__ = ["PublisherState", "decode_state", "encode_state"]


@dataclasses.dataclass(frozen=True, slots=True)
class PublisherState:
    """Hold all that a publisher needs to continue.

    Args:
        totals: The totals of the whole ticks.
        rules: Bytes of the bandits file that the source sent last. None if it sent none.
        seq: Number of the last whole tick.
        waiting: Messages of ticks that are not whole.
        letters: Dead letters that are not written.
    """

    totals: TotalsState
    rules: bytes | None
    seq: int
    waiting: Sequence[FoldResult | SourceReport]
    letters: Sequence[DeadLetter]


@dataclasses.dataclass(frozen=True, slots=True)
class _Encoded:
    """The encoded form. Only `totals` can hold wide integers, so it is encoded apart."""

    totals: bytes
    rules: bytes | None
    seq: int
    waiting: tuple[bytes, ...]
    letters: tuple[DeadLetter, ...]


def encode_state(state: PublisherState) -> bytes:
    """Encode the state.

    Args:
        state: The state of a publisher.

    Returns:
        Bytes for `decode_state`, with the version of the encoding.
    """
    waiting = tuple(encode_message(message) for message in state.waiting)
    totals = encoding.encode(state.totals)
    return encoding.encode(_Encoded(totals, state.rules, state.seq, waiting, tuple(state.letters)))


def decode_state(data: bytes) -> PublisherState:
    """Decode what `encode_state` wrote.

    Args:
        data: The bytes of `encode_state`.

    Returns:
        The state.

    Raises:
        Refused: Another version of recbeam wrote the bytes.
    """
    state = encoding.decode(data, _Encoded)
    waiting = tuple(decode_message(message) for message in state.waiting)
    return PublisherState(encoding.decode(state.totals, TotalsState), state.rules, state.seq, waiting, state.letters)
