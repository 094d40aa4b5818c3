"""The blocking and the asynchronous client are one interface: same names, arguments, defaults, and words about them."""

from __future__ import annotations

import inspect
import sys

import pytest

import serving_client
from serving_client import aio

RENAMED = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def public(client):
    """Signature and docstring of every public method, by name."""
    methods = {
        RENAMED.get(name, name): method
        for name, method in vars(client).items()
        if inspect.isfunction(method)
        and (not name.startswith("_") or name in {"__init__", *RENAMED, *RENAMED.values()})
    }
    return {
        name: (str(inspect.signature(method)).replace("aio.Client", "Client"), inspect.getdoc(method))
        for name, method in methods.items()
    }


def test_both_clients_have_the_same_methods_arguments_and_docstrings():
    assert public(serving_client.Client) == public(aio.Client)
    assert len(public(serving_client.Client)) == 13


def test_every_method_of_the_asynchronous_client_is_a_coroutine():
    for name in public(aio.Client):
        if not name.startswith("__"):
            assert inspect.iscoroutinefunction(getattr(aio.Client, name)), name


def test_every_call_takes_a_deadline_and_metadata():
    for name in ("predict", "recommend", "recommend_many", "score_items", "explain", "metadata", "status"):
        parameters = inspect.signature(getattr(serving_client.Client, name)).parameters
        for option in ("model", "version", "version_label", "timeout_s", "wait_for_ready", "metadata"):
            assert parameters[option].kind is inspect.Parameter.KEYWORD_ONLY, (name, option)
            assert parameters[option].default is None


def test_every_public_name_of_the_package_can_be_imported_and_is_the_modules_own() -> None:
    """They are imported when asked for: a name without a home would be missed by nobody but its user."""
    for name in serving_client.__all__:
        value = getattr(serving_client, name)
        assert value is getattr(sys.modules[value.__module__], name)
    assert set(serving_client.__all__) <= set(dir(serving_client))
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        _ = serving_client.Clint
