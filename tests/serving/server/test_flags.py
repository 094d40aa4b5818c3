"""The flags are tensorflow_model_server's own, and a mistake in one is a sentence before anything is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from local_serving.errors import UsageError
from local_serving.flags import channel_arguments, parse, usage

MODEL = "--model_base_path=/models/m"


def test_flags_are_spelled_as_the_real_server_spells_them():
    flags = parse(
        [
            "--port=9000",
            "--rest_api_port=9001",
            "--model_name=cf",
            "--model_base_path=/models/cf",
            "--file_system_poll_wait_seconds=5",
            "--max_num_load_retries=2",
            "--load_retry_interval_micros=1000",
            "--enable_batching",
            "--batching_parameters_file=/models/batching.txt",
            "--enable_model_warmup=false",
            "--enable_grpc_healthcheck_service=true",
            "--per_process_gpu_memory_fraction=0.5",
        ]
    )
    assert (flags.port, flags.rest_api_port, flags.model_name, flags.model_base_path) == (
        9000,
        9001,
        "cf",
        "/models/cf",
    )
    assert (flags.file_system_poll_wait_seconds, flags.max_num_load_retries) == (5, 2)
    assert (flags.load_retry_interval_micros, flags.per_process_gpu_memory_fraction) == (1000, 0.5)
    assert (flags.enable_batching, flags.enable_model_warmup, flags.enable_grpc_healthcheck_service) == (
        True, False, True,
    )  # fmt: skip


def test_defaults_are_the_real_servers():
    flags = parse([MODEL])
    assert (flags.port, flags.rest_api_port, flags.model_name) == (8500, 0, "default")
    assert (flags.file_system_poll_wait_seconds, flags.max_num_load_retries) == (1, 5)
    assert flags.load_retry_interval_micros == 60_000_000
    assert flags.enable_model_warmup
    assert not flags.enable_batching
    assert not flags.enable_grpc_healthcheck_service


def test_a_flag_without_effect_here_is_taken_and_named():
    assert parse([MODEL, "--flush_filesystem_caches=false", "--enable_profiler"]).ignored == (
        "flush_filesystem_caches", "enable_profiler",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "neither --model_base_path nor --model_config_file is given; pass one of them"),
        ([MODEL, "--prot=1"], "unknown argument --prot=1; did you mean --port?"),
        ([MODEL, "--zzz"], "unknown argument --zzz; see --help"),
        ([MODEL, "8500"], "unknown argument 8500; see --help"),
        ([MODEL, "-port=1"], "unknown argument -port=1; "),
        ([MODEL, "--port"], "--port has no value; write --port=VALUE"),
        ([MODEL, "--port=x"], "--port=x is not a whole number; correct it"),
        ([MODEL, "--host="], "--host= is not an IPv4 address or a name; use for example 127.0.0.1 or 0.0.0.0"),
        ([MODEL, "--host=::"], "--host=:: is not an IPv4 address or a name; use for example 127.0.0.1 or 0.0.0.0"),
        ([MODEL, "--port=70000"], "--port=70000 is not a port; use 0 to 65535"),
        ([MODEL, "--port=1", "--rest_api_port=1"], "--rest_api_port=1 is the same as --port; use another port"),
        ([MODEL, "--enable_batching=yes"], "--enable_batching=yes is neither true nor false; "),
        ([MODEL, "--enable_batching="], "--enable_batching= is neither true nor false; "),
        ([MODEL, "--batching_parameters_file=f"], "--batching_parameters_file has no effect without --enable_batching"),
        ([MODEL, "--grpc_max_threads=0"], "--grpc_max_threads=0 is less than 1; use at least 1"),
        (
            [MODEL, "--file_system_poll_wait_seconds=nan"],
            "--file_system_poll_wait_seconds=nan is not a number; correct it",
        ),
        (["--model_base_path=/\udcff"], "'--model_base_path=/\\udcff' is not UTF-8; use names and paths that are"),
        ([MODEL, "--grpc_channel_arguments=a=2147483648"], "--grpc_channel_arguments has a=2147483648; use KEY=VALUE"),
        ([MODEL, f"--grpc_channel_arguments=a={'9' * 5000}"], "--grpc_channel_arguments has a=999"),
        ([MODEL, "--grpc_channel_arguments=a=b,=1"], "--grpc_channel_arguments has =1; use KEY=VALUE"),
        ([MODEL, "--file_system_poll_wait_seconds=often"], "--file_system_poll_wait_seconds=often is not a number"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, says):
    with pytest.raises(UsageError) as raised:
        parse(arguments)
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_channel_arguments_are_numbers_where_they_look_like_it():
    text = "grpc.a=-2147483648,grpc.b=007,grpc.c=--5,grpc.d=²,grpc.e=x=y,"
    assert channel_arguments(text) == [
        ("grpc.a", -(2**31)), ("grpc.b", 7), ("grpc.c", "--5"), ("grpc.d", "²"), ("grpc.e", "x=y"),
    ]  # fmt: skip


def test_help_names_every_flag_and_the_server_for_production():
    text = usage("local-serving")
    for name in ("port", "rest_api_port", "model_config_file", "enable_batching", "ssl_config_file"):
        assert f"\n  --{name}" in text
    assert "run the real tensorflow_model_server" in text
    assert "ignored" not in text
    assert max(map(len, text.splitlines()[:8])) <= 120


def test_a_mistake_is_answered_without_tensorflow():
    code = """
import sys
from local_serving import config, discovery, flags
from local_serving.__main__ import main
assert main(["--prot=1"]) == 2
assert main(["--help"]) == 0
assert main(["--version"]) == 0
assert not {"tensorflow", "apache_beam"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == "local-serving: unknown argument --prot=1; did you mean --port?\n"
    assert "\nTensorFlow Library: 2." in done.stdout
