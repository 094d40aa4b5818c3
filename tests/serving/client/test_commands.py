"""`serving-client recommend`, `status` and `bench` against a real server: output, exit codes, the closing sentence."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import re
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest

from serving_client.__main__ import main
from serving_client.commands import bench, tables
from serving_client.errors import DeadlineExceeded, Overloaded
from tests.serving.client.rung_server import Answer, Fail, Hang, RungServer

DEAD = "127.0.0.1:1"


@pytest.fixture(scope="module")
def running():
    with RungServer() as server:
        yield server


@pytest.fixture
def server(running):
    running.requests.clear()
    running.states = running.unknown = None
    running.scored.clear()
    running.behave("cf", Answer(("c1", "c2", "c3")))
    return running


def test_recommend_prints_rank_item_and_score_and_says_who_answered(server, capsys):
    assert main(["recommend", f"--server={server.target}", "--model=cf", "c07", "c12"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["rank  item  score", "   1  c1        3", "   2  c2        2", "   3  c3        1"]
    assert re.fullmatch(rf"{server.target}: 3 items of model cf version 7 in \d+\.\d ms, 1 attempt\n", err)
    (request,) = server.requests
    assert [item for item in request.inputs["history"].string_val if item] == [b"c07", b"c12"]


def test_recommend_shows_titles_without_what_a_terminal_would_obey(server, tmp_path, capsys):
    path = tmp_path / "items.csv"
    path.write_text('\ufeffitem_id,level,title\nc1,1,"Linear\nalgebra"\nc2,2,\x1b[31m統計\n', encoding="utf-8")
    assert main(["recommend", f"--server={server.target}", "--model=cf", f"--items={path}", "c07"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "rank  item  title           score",
        "   1  c1    Linear algebra      3",
        "   2  c2    ?[31m統計           2",
        "   3  c3                        1",
    ]


def test_recommend_passes_on_exclude_k_and_version_or_label(server, capsys):
    common = ["recommend", f"--server={server.target}", "--model=cf", "c07", "--k=1", "--exclude=c1", "--exclude=c9"]
    assert main([*common, "--version=7"]) == 0
    assert main([*common, "--label=stable"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "   1  c2        2"
    first, second = server.requests
    assert [item for item in first.inputs["exclude"].string_val if item] == [b"c1", b"c9"]
    assert (first.model_spec.version.value, second.model_spec.version_label) == (7, "stable")


def test_recommend_names_the_items_that_the_model_lacks(server, capsys):
    server.unknown = {"c77", "c9"}
    command = ["recommend", f"--server={server.target}", "--model=cf", "c07", "c77", "c77", "--exclude=c9"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1] == "   1  c1        3"
    assert err.splitlines()[0] == ("model cf version 7 does not contain c77, c9, so they have no effect; check the ids")
    (scored,) = server.scored
    assert scored.model_spec.version.value == 7  # the version that recommended
    server.unknown = {f"x{number}" for number in range(7)}
    assert main([*command[:3], *sorted(server.unknown)]) == 0
    assert capsys.readouterr().err.splitlines()[0] == (
        "model cf version 7 does not contain x0, x1, x2, x3, x4 and 2 more, so these are popular items; check the ids"
    )
    server.unknown = set()
    assert main(command) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_recommend_asks_for_no_scores_without_items_and_does_without_the_signature(server, capsys):
    assert main(["recommend", f"--server={server.target}", "--model=cf"]) == 0
    assert server.scored == []
    assert main(["recommend", f"--server={server.target}", "--model=cf", "c77"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 2  # a closing sentence each
    assert len(server.scored) == 1


@pytest.mark.parametrize("command", ["recommend", "bench", "status"])
def test_a_wrong_model_names_the_command_that_lists_versions(command, server, capsys):
    assert main([command, f"--server={server.target}", "--model=cff"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    named = f"`serving-client status --server={server.target} --model=NAME` lists the versions of a model"
    assert line.endswith(f"check the name and version; {named}")


def test_a_wrong_version_names_the_command_with_the_model(server, capsys):
    assert main(["recommend", f"--server={server.target}", "--model=cf", "--version=9"]) == 3
    named = f"`serving-client status --server={server.target} --model=cf` lists the versions of a model"
    assert capsys.readouterr().err.strip().endswith(f"check the name and version; {named}")


def test_recommend_without_items_asks_for_what_is_popular(server, capsys):
    assert main(["recommend", f"--server={server.target}", "--model=cf"]) == 0
    assert "c1" in capsys.readouterr().out


def test_status_prints_every_version_of_every_server(server, capsys):
    server.states = [(7, 30, 0, ""), (9, 50, 3, "no such op\nFrobnicate"), (8, 20, 0, "")]
    assert main(["status", f"--server={server.target}", "--model=cf"]) == 0
    out, err = capsys.readouterr()
    rows = [line.split(None, 4) for line in out.splitlines()]
    assert rows == [
        ["server", "model", "version", "state", "error"],
        [server.target, "cf", "9", "END", "no such op Frobnicate"],
        [server.target, "cf", "8", "LOADING"],
        [server.target, "cf", "7", "AVAILABLE"],
    ]
    assert err == "model cf: 1 of 3 versions AVAILABLE\n"


def test_status_shows_the_servers_that_answer_beside_one_that_does_not(server, capsys):
    assert main(["status", f"--server={DEAD}", f"--server={server.target}", "--model=cf", "--timeout=2"]) == 1
    out, err = capsys.readouterr()
    dead, alive = out.splitlines()[1:]
    assert dead.startswith(DEAD) and "Unavailable" in dead
    assert "AVAILABLE" in alive
    assert err.startswith(f"{DEAD}, model cf: UNAVAILABLE")
    assert err.count("\n") == 1


def test_bench_prints_calls_rate_and_percentiles(server, capsys):
    command = ["bench", f"--server={server.target}", "--model=cf", "--seconds=0.3", "--concurrency=3", "c07"]
    assert main([*command, "--connections=2"]) == 0
    out, err = capsys.readouterr()
    rows = dict(line.rsplit(None, 1) for line in out.splitlines())
    assert list(rows) == ["measure", "calls", "failed", "answered/s", "p50 ms", "p90 ms", "p99 ms", "max ms"]
    assert int(rows["calls"]) == len(server.requests) - 2  # one for each connection before the measurement
    assert rows["failed"] == "0"
    p50, p90, p99, most = (float(rows[name]) for name in ("p50 ms", "p90 ms", "p99 ms", "max ms"))
    assert 0.0 < p50 <= p90 <= p99 <= most
    assert err.endswith("with 3 threads on 2 connections\n")


def test_bench_counts_errors_by_class_and_goes_on(server, capsys):
    answers = iter([None, None, Overloaded("full"), DeadlineExceeded("late"), Overloaded("full"), None])
    clock = iter(range(100))

    def call():
        error = next(answers)
        if error is not None:
            raise error

    # The clock is read at the start, before each call, after each answer, once more and at the end: 11 s in all.
    measured = bench.measure([call], 1, 9.5, lambda: float(next(clock)))
    assert measured.elapsed_s == 11.0
    assert measured.errors == {"Overloaded": 2, "DeadlineExceeded": 1}
    assert measured.answered_s == [1.0, 1.0, 1.0]
    assert bench.report(measured).splitlines() == [
        "measure                      value",
        "calls                            6",
        "failed                           3",
        "failed: Overloaded               2",
        "failed: DeadlineExceeded         1",
        "answered/s                     0.3",
        "p50 ms                    1000.000",
        "p90 ms                    1000.000",
        "p99 ms                    1000.000",
        "max ms                    1000.000",
    ]


def test_a_percentile_is_a_time_that_a_call_took():
    """Of 1 … 200 ms: half stayed within 100, 90% within 180, 99% within 198."""
    text = bench.report(bench.Measured([number / 1000.0 for number in range(200, 0, -1)], {}, 2.0))
    rows = dict(line.rsplit(None, 1) for line in text.splitlines())
    assert (rows["p50 ms"], rows["p90 ms"], rows["p99 ms"], rows["max ms"]) == (
        "100.000",
        "180.000",
        "198.000",
        "200.000",
    )
    assert rows["answered/s"] == "100.0"


def test_bench_shares_the_threads_among_the_connections():
    asked = [threading.Event(), threading.Event()]

    def call(place):
        asked[place].set()
        assert asked[1 - place].wait(30)  # the other thread uses the other connection

    bench.measure(
        [functools.partial(call, 0), functools.partial(call, 1)],
        2,
        100.0,
        lambda: 100.0 if all(one.is_set() for one in asked) else 0.0,
    )
    assert all(one.is_set() for one in asked)


def test_an_interrupt_while_threads_are_started_stops_those_that_run(monkeypatch):
    submit = concurrent.futures.ThreadPoolExecutor.submit

    def interrupted(pool, *arguments):
        signal.raise_signal(signal.SIGINT)
        return submit(pool, *arguments)

    monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", interrupted)
    assert bench.measure([lambda: None], 2, 20.0).elapsed_s < 10.0


def test_a_defect_in_a_benched_call_ends_the_measurement():
    with pytest.raises(ZeroDivisionError):
        bench.measure([lambda: 1 / 0, lambda: None], 2, 60.0)


def test_bench_ends_with_1_where_a_call_failed(server, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda *_: bench.Measured([0.1, 0.2], {"Unavailable": 1}, 1.0))
    assert main(["bench", f"--server={server.target}", "--model=cf"]) == 1


def test_bench_ends_with_1_where_no_call_was_answered(server, capsys, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda *_: bench.Measured([], {"Unavailable": 3}, 1.0))
    assert main(["bench", f"--server={server.target}", "--model=cf"]) == 1
    out, err = capsys.readouterr()
    assert "p50" not in out
    assert err.startswith(f"{server.target}: 0 calls answered, 3 failed in 1.0 s")


def test_ctrl_c_ends_a_bench_early_with_what_was_measured(server):
    command = [sys.executable, "-m", "serving_client", "bench", f"--server={server.target}", "--model=cf"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--seconds=600"], text=True, **pipes) as process:
        try:
            while server.asked("cf") < 20:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert "p99 ms" in out
    assert re.search(r"\d+ calls answered, 0 failed in \d+\.\d s with 8 threads on 1 connection\n$", err)


@pytest.mark.parametrize("command", ["recommend", "status", "bench"])
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--server=SERVER", "--model=none"], 3, "SERVER, model none: NOT_FOUND"),
        (["--server=SERVER", "--model=cf", "--version=8"], 3, "SERVER, model cf version 8: NOT_FOUND"),
        ([f"--server={DEAD}", "--model=cf", "--timeout=2"], 1, f"{DEAD}, model cf: UNAVAILABLE"),
        (["--server=SERVER", "--model=busy"], 1, "SERVER, model busy: RESOURCE_EXHAUSTED"),
        (["--server=SERVER", "--model=hangs", "--timeout=0.2"], 1, "SERVER, model hangs: DEADLINE_EXCEEDED"),
    ],
)
def test_what_the_server_says_is_one_sentence_and_its_exit_code(command, arguments, code, says, server, capsys):
    server.behave("busy", Fail(grpc.StatusCode.RESOURCE_EXHAUSTED))
    server.behave("hangs", Hang())
    assert main([command, *(one.replace("SERVER", server.target) for one in arguments)]) == code
    err = capsys.readouterr().err
    assert err.startswith(says.replace("SERVER", server.target))
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: COMMAND"),
        (["recommend", "--model=cf"], "required: --server"),
        (["recommend", "--server=h:1"], "required: --model"),
        (["recommend", "--server=host", "--model=cf"], "target 'host' has no port; write HOST:PORT"),
        (["status", "--server=h:1", "--server=h:1", "--model=cf"], "target 'h:1' is named twice"),
        (["recommend", "--server=h:1", "--model=cf", "--k=0"], "0 is not a whole number from 1"),
        (["recommend", "--server=h:1", "--model=cf", "--version=x"], "x is not a whole number"),
        (["recommend", "--server=h:1", "--model=cf", "--version=1", "--label=l"], "not allowed with argument"),
        (["recommend", "--server=h:1", "--model=cf", "--timeout=nan"], "nan is not a number of seconds above 0"),
        (
            ["recommend", "--server=h:1", "--model=cf", "--timeout=100000"],
            "a number of seconds above 0 and at most 86400",
        ),
        (["recommend", "--server=h:1", "--model=\udcff"], "argument --model: '\\udcff' is not valid UTF-8"),
        (["bench", "--server=h:1", "--model=cf", "--label=\udcff"], "argument --label: '\\udcff' is not valid UTF-8"),
        (["status", "--server=\udcff:1", "--model=cf"], "argument --server: '\\udcff:1' is not valid UTF-8"),
        (["bench", "--server=h:1", "--model=cf", "--seconds=0"], "0 is not a number of seconds above 0"),
        (["status", "--server=h:1", "--model=cf", "--label=stable"], "unknown argument --label=stable"),
    ],
)
def test_a_command_line_that_cannot_be_meant_exits_2(arguments, says, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert says in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"item,title\na,b\n", "lacks the column item_id; its columns are 'item', 'title'"),
        (b"", "lacks the column item_id and the column title; its columns are none"),
        (b"item_id,title\n\xff,b\n", "is not a CSV file in UTF-8"),
        (b"item_id,title\n" + b"x" * 200_000 + b",b\n", "is not a CSV file in UTF-8"),
    ],
)
def test_titles_that_cannot_be_read_exit_3_before_the_server_is_asked(content, says, server, tmp_path, capsys):
    path = tmp_path / "items.csv"
    if content is not None:
        path.write_bytes(content)
    assert main(["recommend", f"--server={server.target}", "--model=cf", f"--items={path}", "c07"]) == 3
    out, err = capsys.readouterr()
    assert err.startswith(f"{path}: {says}")
    assert (out, err.count("\n"), server.requests) == ("", 1, [])


def run(*arguments, stdout=subprocess.PIPE, **environment):
    """The command in a process of its own: exit code, what it printed, and what it said on stderr."""
    done = subprocess.run(
        [sys.executable, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "", **environment},
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("command", ["recommend", "status"])
def test_output_that_nobody_takes_is_one_sentence_and_exits_1(command, server):
    arguments = ["-m", "serving_client", command, f"--server={server.target}", "--model=cf"]
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone, open("/dev/full", "wb") as full:
        for stdout, why in ((gone, "Broken pipe"), (full, "No space left on device")):
            code, _, err = run(*arguments, stdout=stdout)
            assert (code, err.splitlines()[-1]) == (1, f"the output cannot be written ({why})")
            assert "Traceback" not in err and "Exception ignored" not in err
            code, _, err = run(*arguments, "--help", stdout=stdout)
            assert (code, err) == (1, f"the output cannot be written ({why})\n")


def test_titles_that_a_terminal_has_no_letters_for_are_printed_as_they_can_be(server, tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\nc1,caf\u00e9\n", encoding="utf-8")
    command = ["-m", "serving_client", "recommend", f"--server={server.target}", "--model=cf", f"--items={path}"]
    code, out, err = run(*command, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert (code, out.splitlines()[1].split()) == (0, [b"1", b"c1", b"caf?", b"3"])
    assert "Traceback" not in err


def test_ctrl_c_while_it_imports_is_one_word():
    code = """
import sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "serving_client.commands.bench":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
import serving_client.__main__
"""
    assert run("-c", code) == (1, b"", "stopped\n")


def test_an_empty_item_exits_3(server, capsys):
    assert main(["recommend", f"--server={server.target}", "--model=cf", ""]) == 3
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["recommend", "status", "bench"])
def test_help_has_a_sentence_and_an_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"example: serving-client {command} --server=" in " ".join(capsys.readouterr().out.split())


def test_cells_are_aligned_by_what_a_terminal_shows():
    text = tables.table(("a", "n"), [["統計", "1"], ["e\u0301", "20"], ["long", "300"]], right=("n",))
    assert text.splitlines() == ["a       n", "統計    1", "e\u0301      20", "long  300"]


def test_the_command_imports_neither_tensorflow_nor_beam_nor_the_extras():
    code = """
import sys
from serving_client.__main__ import main
assert main(["status", "--server=127.0.0.1:1", "--model=cf", "--timeout=0.5"]) == 1
heavy = {"tensorflow", "apache_beam", "rich", "prometheus_client", "opentelemetry", "pyarrow"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
