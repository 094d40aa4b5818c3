"""Read a bandits file (YAML), check it against the schema, and compare it with its former content.

The first mistake ends the reading. Its message is one sentence with the place in the file. A key that is written twice
is a mistake, too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable
from typing import Any

import jsonschema
import yaml
from apache_beam.io.filesystem import BeamIOError

from serving_client.contracts.bandits import Bandits, BanditsError, attribution_key
from serving_client.contracts.bandits_document import bandits_of
from serving_client.contracts.schemas import load
from transforms.attribution.schema_faults import schema_fault
from transforms.errors import BadInput
from transforms.files import storage

__all__ = ["check_change", "parse_bytes", "read"]

# Keys of the attribution key that do not stand directly below the bandit.
_BELOW_ATTRIBUTION = frozenset({"window", "allowed_lateness", "max_future", "aggregate", "denominator", "reward_kinds"})


def read(path: str) -> tuple[bytes, Bandits]:
    """Read a bandits file and return its bytes and its content.

    Raises:
        BadInput: The file cannot be read or is invalid.
    """
    try:
        with storage.open_read(path) as file:
            data = file.read()
    except FileNotFoundError as error:
        raise BadInput(f"--bandits={path}: the file does not exist; correct the path") from error
    except (BeamIOError, OSError) as error:
        raise BadInput(f"--bandits={path}: cannot be read ({error}); check the path and its permissions") from error
    return data, parse_bytes(data, path)


@functools.lru_cache(maxsize=16)
def parse_bytes(data: bytes, where: str) -> Bandits:
    """Parse the bytes of a bandits file.

    Equal bytes return the same object, so do not change it.

    Args:
        data: Content of the file.
        where: Name of the file, for messages.

    Raises:
        BadInput: The content is not YAML, breaks the schema or contradicts itself.
    """
    try:
        document = yaml.load(data, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadInput(f"{where}{line}: {error.problem or 'no YAML'}; correct the line") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(f"{where}: no YAML ({' '.join(str(error).split())}); correct the file") from error
    except RecursionError as error:
        raise BadInput(f"{where}: nested too deeply; a bandits file has seven levels at most") from error
    fault = schema_fault(_validator(), document, below="bandits")
    if fault:
        raise BadInput(f"{where}: {fault}")
    try:
        return bandits_of(document, where)
    except BanditsError as error:
        raise BadInput(str(error)) from error


def check_change(old: Bandits, new: Bandits) -> None:
    """Raise BadInput if statistics that were counted by the old file cannot go on under the new one.

    A bandit whose epoch rises starts empty, so that anything may change; one that left the file, or came, may.
    """
    for bandit_id, after in new.bandits.items():
        before = old.bandits.get(bandit_id)
        if before is None or after.policy_epoch > before.policy_epoch:
            continue
        if after.policy_epoch < before.policy_epoch:
            raise BadInput(
                f"{bandit_id}.policy_epoch was {before.policy_epoch} and is {after.policy_epoch}; "
                f"it never falls, so put {before.policy_epoch} back or use a larger one"
            )
        was, now = attribution_key(before), attribution_key(after)
        for name in was:
            if was[name] != now[name]:
                place = f"attribution.{name}" if name in _BELOW_ATTRIBUTION else name
                raise BadInput(
                    f"{bandit_id}.{place} was {was[name]} and is {now[name]} in the same policy_epoch "
                    f"{after.policy_epoch}; put the former value back, or raise policy_epoch, with which the bandit's "
                    f"statistics start empty"
                )


@functools.cache
def _validator() -> Any:
    return jsonschema.Draft202012Validator(load("bandits"))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML without its surprises: times stay text, a key stands once and is text, and numbers are finite."""


# Without this `started_at: 2026-11-24T06:00:00Z` is a datetime; first letters of what resolves to one are digits.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen = set()
    for key_node, _ in node.value:  # before merge keys are put in: what they bring may be overridden
        key = key_node.value
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        if key_node.tag != "tag:yaml.org,2002:str":
            problem = (
                "a key is not a string"
                if not isinstance(key, str)
                else f'key {key} is not a string in YAML; write "{key}"'
            )
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key} appears twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    mapping: dict[Hashable, Any] = loader.construct_mapping(node, deep=True)
    return mapping


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    number: float = loader.construct_yaml_float(node)
    if not math.isfinite(number):
        raise yaml.constructor.ConstructorError(None, None, f"{node.value} is not a finite number", node.start_mark)
    return number


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
