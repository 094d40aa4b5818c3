"""Following a store loads no client library of another store, and nothing heavy."""

from __future__ import annotations

import subprocess
import sys

from tests.third_party.environments import ROOT

SCRIPT = """
import sys
from serving_client.snapshots import follow, stores
stores.open_store("snapshots")
libraries = {"apache_beam", "boto3", "google.cloud.storage", "grpc", "httpx", "redis", "scipy", "yaml"}
print(sorted(sys.modules.keys() & libraries))
"""


def test_a_directory_needs_no_client_library() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
