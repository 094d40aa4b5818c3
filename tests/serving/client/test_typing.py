"""What a type checker says of a caller's code: every option of a call has its type, and a misspelt one is an error."""

from __future__ import annotations

import pathlib
import re

import mypy.api

ROOT = pathlib.Path(__file__).resolve().parents[3]

CALLER = """
from serving_client import Client, OpenInference, aio
from serving_client.calls import CallOptions

options: CallOptions = {"model": "cf", "timeout_s": 0.5}
client = Client("h:1", protocol=OpenInference())
client.recommend(["a"], k=3, version=7, version_label=None, metadata=[("key", "value")], wait_for_ready=True)
client.recommend(["a"], **options)
client.wait_until_ready(5.0, model="cf")
client.explain(["a"], ["b"], timeout_s="1")  # arg-type
client.status(tiemout_s=1.0)  # call-arg
client.wait_until_ready(wait_for_ready=True)  # call-arg
client.recommend("a", k="3")  # arg-type
Client("h:1", protocol="v2")  # arg-type
wrong: CallOptions = {"version": "7"}  # typeddict-item


async def asynchronous(client: aio.Client) -> list[str]:
    await client.predict({}, tiemout_s=1.0)  # call-arg
    await client.metadata(version="7")  # arg-type
    answer = await client.recommend(["a"], model="cf", timeout_s=1)
    return answer.items
"""


def test_mypy_finds_exactly_the_calls_that_are_wrong(tmp_path):
    path = tmp_path / "caller.py"
    path.write_text(CALLER)
    # The project's own cache, so that serving_client is not checked anew.
    out, err, _ = mypy.api.run(
        [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}", str(path)]
    )
    assert err == ""
    found = {(int(line), code) for line, code in re.findall(r"caller\.py:(\d+): error: .*\[([a-z-]+)\]", out)}
    wanted = {
        (number, line.rpartition("# ")[2]) for number, line in enumerate(CALLER.splitlines(), start=1) if "  # " in line
    }
    assert found == wanted, out
