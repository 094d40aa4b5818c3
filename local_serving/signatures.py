"""Check a request against a model's signature, with the checks and messages of predict_util.cc.

The checks run in the same order, so a request with two mistakes gets the same message from both servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc

from local_serving.errors import Status
from serving_client.contracts.signatures import SERVING_DEFAULT

__all__ = ["checked_inputs", "checked_outputs", "signature_of"]


def signature_of(signatures: Mapping[str, Any], name: str) -> tuple[str, Any]:
    """Return the name of a signature (serving_default if empty) and its SignatureDef."""
    name = name or SERVING_DEFAULT
    if name not in signatures:
        raise Status(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return name, signatures[name]


def checked_inputs(signature: Any, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every input of the signature: the value sent, or the default (a TensorProto)."""
    needed = signature.inputs.keys()
    if len(sent) > len(needed) or (len(sent) < len(needed) and not signature.defaults):
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(needed)} len({_set(sent)}) != len({_set(needed)})."
            f" Sent extra: {_set(sent.keys() - needed)}. Missing but required: {_set(needed - sent.keys())}."
        )
    inputs: dict[str, Any] = {}
    for alias in sorted(needed):
        if alias in sent:
            inputs[alias] = sent[alias]
        elif alias in signature.defaults:
            inputs[alias] = signature.defaults[alias]
        else:
            raise _invalid(
                f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and no"
                f" default value provided. Inputs expected to be in the request {_set(sent)}, or default input alias"
                f" set: {','.join(sorted(signature.defaults))}"
            )
    used = sent.keys() & needed
    if len(used) != len(sent):
        raise _invalid(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(used))}, request input:"
            f" {','.join(sorted(sent))}"
        )
    return inputs


def checked_outputs(signature: Any, wanted: Sequence[str]) -> list[str]:
    """Return the outputs to compute: the wanted ones, or all if none is named."""
    for position, alias in enumerate(wanted):
        if alias not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set"
                f" {_set(signature.outputs)}."
            )
        if alias in wanted[:position]:
            raise _invalid(f"duplicate output tensor alias: {alias}")
    return list(wanted) or sorted(signature.outputs)


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _invalid(message: str) -> Status:
    return Status(grpc.StatusCode.INVALID_ARGUMENT, message)
