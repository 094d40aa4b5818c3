"""The blocking and the asynchronous client are one interface: same names, arguments, defaults, and words about them."""

from __future__ import annotations

import asyncio
import inspect
import sys
import typing

import pytest

import serving_client
from serving_client import aio
from serving_client.calls import CallOptions, ModelOptions

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
    assert len(public(serving_client.Client)) == 14


def test_every_method_of_the_asynchronous_client_is_a_coroutine():
    for name in public(aio.Client):
        if not name.startswith("__"):
            assert inspect.iscoroutinefunction(getattr(aio.Client, name)), name


OPTIONS = {
    **dict.fromkeys(
        ("predict", "recommend", "recommend_many", "score_items", "explain", "metadata", "status", "ready"),
        CallOptions,
    ),
    "wait_until_ready": ModelOptions,
}


@pytest.mark.parametrize("client", [serving_client.Client, aio.Client], ids=["blocking", "asyncio"])
def test_every_call_takes_a_deadline_and_metadata(client):
    assert set(CallOptions.__annotations__) == {
        *("model", "version", "version_label", "timeout_s", "wait_for_ready", "metadata")
    }
    assert not CallOptions.__required_keys__
    assert set(ModelOptions.__annotations__) == {"model", "version", "version_label", "metadata"}
    taking = {}
    for name in public(client):
        method = getattr(client, name, None)
        for parameter in inspect.signature(method).parameters.values() if method else ():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                (taking[name],) = typing.get_args(typing.get_type_hints(method)[parameter.name])
    assert taking == OPTIONS


@pytest.mark.parametrize("name", OPTIONS)
def test_an_unknown_option_of_a_call_is_a_type_error_that_names_it(name):
    arguments = [
        {"inputs": {}, "history": [], "histories": [], "candidates": []}[parameter.name]
        for parameter in inspect.signature(getattr(serving_client.Client, name)).parameters.values()
        if parameter.default is parameter.empty and parameter.name not in ("self", "options")
    ]
    for option in ("tiemout_s", *({"timeout_s", "wait_for_ready"} - set(OPTIONS[name].__annotations__))):
        if option == "timeout_s":  # wait_until_ready has an argument of that name
            continue
        words = f"'{option}' is not an option of this call; the options are model, version"
        with (
            serving_client.Client("localhost:1", model="m") as client,
            pytest.raises(TypeError, match=words),
        ):
            getattr(client, name)(*arguments, **{option: 1.0})

        async def asynchronous(option=option):
            async with aio.Client("localhost:1", model="m") as client:
                await getattr(client, name)(*arguments, **{option: 1.0})

        with pytest.raises(TypeError, match=words):
            asyncio.run(asynchronous())


def test_every_public_name_of_the_package_can_be_imported_and_is_the_modules_own() -> None:
    """They are imported when asked for: a name without a home would be missed by nobody but its user."""
    for name in serving_client.__all__:
        value = getattr(serving_client, name)
        assert value is getattr(sys.modules[value.__module__], name)
    assert set(serving_client.__all__) <= set(dir(serving_client))
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        _ = serving_client.Clint
