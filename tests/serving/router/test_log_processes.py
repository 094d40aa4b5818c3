"""Logs of processes that are killed, that fork, and that end."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time

from tests.serving.router.logs import files, lines_of, run

KILLED = """
import sys, time
from serving_client.router.log_files import LogFiles
log = LogFiles(sys.argv[1], "decisions", flush_interval_s=0.2)
number = 0
while True:
    number += 1
    log.write(b"%d %d\\n" % (number, time.monotonic_ns()))
    time.sleep(0.001)
"""


def test_a_killed_process_loses_at_most_the_last_flush_interval(tmp_path: pathlib.Path) -> None:
    """Lines carry their time. The last line in the file may be one interval, and the time of a flush, before."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    until = time.monotonic() + 30
    while (not files(tmp_path) or files(tmp_path)[0].stat().st_size < 2_000) and time.monotonic() < until:
        time.sleep(0.01)
    killed_ns = time.monotonic_ns()
    process.send_signal(signal.SIGKILL)
    process.wait()
    lines = [line.split() for line in lines_of(tmp_path)]
    assert [int(number) for number, _ in lines] == list(range(1, len(lines) + 1))
    assert killed_ns - int(lines[-1][1]) < 3e9  # a busy machine delays the flush


FORKS = """
import multiprocessing, os, pathlib, sys
from serving_client.router import counting
from serving_client.router.log_calls import LogCalls
from serving_client.router.log_files import LogFiles
folder = pathlib.Path(sys.argv[1])
log = LogFiles(folder, "decisions", flush_interval_s=3600)
log.write(b"parent before\\n")
log.flush()
log.write(b"parent queued\\n")
def work(name):
    assert log.counts().queued == log.counts().written == 0, log.counts()
    log.write(name + b"\\n")
failing = LogCalls(lambda line: 1 / 0, "decisions")
with log._lock, log._writing, counting._lock:  # as other threads of the parent may hold them
    child = os.fork()
    if child == 0:
        work(b"child")
        assert not failing.write(b"") and failing.lost == {"call_failed": 1}
        log.close()
        os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
process = multiprocessing.get_context("fork").Process(target=work, args=(b"process",))
process.start()
process.join()
assert process.exitcode == 0
log.write(b"parent after\\n")
print(os.getpid(), child, process.pid)
"""


def test_a_forked_child_has_its_own_queue_file_and_thread_and_everything_is_flushed_at_exit(
    tmp_path: pathlib.Path,
) -> None:
    """The parent ends by atexit, one child by `close`, and the other child by multiprocessing's own exit."""
    parent, child, process = run(FORKS, tmp_path).split()
    found = {path.name.split("-")[2]: path.read_bytes() for path in files(tmp_path)}
    assert found == {
        parent: b"parent before\nparent queued\nparent after\n",
        child: b"child\n",
        process: b"process\n",
    }
