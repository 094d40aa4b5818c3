"""Read which versions a --model_config_file of tensorflow_model_server names, by a label or by its version policy.

The file is parsed with the server's own messages. An unknown field is an error, so that a label is never overlooked.
"""

from __future__ import annotations

import dataclasses
import os

from google.protobuf import text_format

from serving_client.protocol import messages
from transforms.errors import BadInput

__all__ = ["Named", "named_versions"]


@dataclasses.dataclass(frozen=True)
class Named:
    """The versions of one model that a config file names.

    Attributes:
        versions: Versions that have a label, or that the policy `specific` lists.
        newest: How many versions the `latest` policy serves. 0 under another policy.
        everything: Whether the policy is `all`.
    """

    versions: frozenset[int] = frozenset()
    newest: int = 0
    everything: bool = False


def named_versions(file: str | os.PathLike[str], model: str) -> Named:
    """Return the versions of `model` that the config file names.

    Raises:
        BadInput: The file cannot be read, is not a model server config, or has no model of this name.
    """
    try:
        with open(file, encoding="utf-8") as read:
            config = text_format.Parse(read.read(), messages.ModelServerConfig())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadInput(f"{file}: cannot be read ({reason}); check --model_config_file") from error
    except text_format.ParseError as error:
        raise BadInput(f"{file}: is not a model server config ({error}); correct it") from error
    models = {entry.name: entry for entry in config.model_config_list.config}
    if model not in models:
        there = ", ".join(sorted(models)) or "none"
        raise BadInput(f"{file}: has no model {model}; its models are: {there}; pass --model_name")
    labels = models[model].version_labels.values()
    policy = models[model].model_version_policy
    choice = policy.WhichOneof("policy_choice") or "latest"
    return Named(
        versions=frozenset(labels) | frozenset(policy.specific.versions),
        newest=max(1, policy.latest.num_versions) if choice == "latest" else 0,
        everything=choice == "all",
    )
