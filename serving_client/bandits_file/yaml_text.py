"""Load YAML without its surprises: times stay text, a key is text and appears once, and numbers are finite."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

from serving_client.extras import require

__all__ = ["YamlFault", "load_yaml"]

yaml: Any = require("yaml", "router")


class YamlFault(ValueError):
    """The text is not usable YAML. The message continues after the file's name: `:LINE: SENTENCE` or `: SENTENCE`."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """A SafeLoader with the rules of this module."""


# Without this `started_at: 2026-11-24T06:00:00Z` is a datetime. The first letters of all such texts are digits.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(data: bytes) -> Any:
    """Return the document in the bytes.

    Raises:
        YamlFault: The bytes are not YAML, or break a rule of this module.
    """
    try:
        return yaml.load(data, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise YamlFault(f"{line}: {error.problem or 'no YAML'}; correct the line") from error
    except (yaml.YAMLError, ValueError) as error:
        raise YamlFault(f": no YAML ({' '.join(str(error).split())}); correct the file") from error
    except RecursionError as error:
        raise YamlFault(": nested too deeply; a bandits file has seven levels at most") from error


def _mapping(loader: _Loader, node: Any) -> dict[Hashable, Any]:
    seen = set()
    for key_node, _ in node.value:  # merge keys are not resolved yet, because a file may override their values
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


def _float(loader: _Loader, node: Any) -> float:
    number: float = loader.construct_yaml_float(node)
    if not math.isfinite(number):
        raise yaml.constructor.ConstructorError(None, None, f"{node.value} is not a finite number", node.start_mark)
    return number


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
