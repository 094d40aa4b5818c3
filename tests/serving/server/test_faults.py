"""Broken versions: the state is END and says why, the old version serves on, a higher number recovers."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading

import pytest

from local_serving.errors import StartError
from tests.serving import models
from tests.serving.server.wire import until


def half_copied(folder):
    (folder / "saved_model.pb").unlink()


def without_variables(folder):
    shutil.rmtree(folder / "variables")


def without_data(folder):
    [data] = (folder / "variables").glob("*.data-*")
    data.unlink()


def cut_data(folder):
    """As a full disk leaves a copy."""
    [data] = (folder / "variables").glob("*.data-*")
    os.truncate(data, data.stat().st_size // 2)


def cut_graph(folder):
    os.truncate(folder / "saved_model.pb", (folder / "saved_model.pb").stat().st_size // 2)


def rubbish(folder):
    (folder / "saved_model.pb").write_bytes(b"\xff" * 1000)


def empty_graph(folder):
    (folder / "saved_model.pb").write_bytes(b"")


def only_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("a version that is no folder")


def no_device_to_read_from(folder):
    """Reading it is an I/O error, for root as well: a folder stands where the file should be."""
    [data] = (folder / "variables").glob("*.data-*")
    data.unlink()
    data.mkdir()


FAULTS = {
    half_copied: (5, "Could not find SavedModel .pb or .pbtxt at supplied export directory path: "),
    without_variables: (2, ""),
    without_data: (2, ""),
    cut_data: (11, ""),
    cut_graph: (2, ""),
    rubbish: (2, ""),
    empty_graph: (2, ""),
    only_a_file: (5, "Could not find SavedModel .pb or .pbtxt at supplied export directory path: "),
    no_device_to_read_from: (9, ""),
}


def break_version(base, version, fault):
    """Version `version` as the fault leaves it; it appears by rename, so that no look sees it whole."""
    work = base / f"tmp-{version}"
    shutil.copytree(base / "1", work)
    fault(work)
    work.rename(base / str(version))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_version_ends_with_its_reason_and_the_old_one_serves_on(fault, base, serve):
    wire = serve(base)
    break_version(base, 2, fault)
    until(lambda: wire.states("m").get(2) == "END")
    code, starts = FAULTS[fault]
    error = wire.error("m", 2)
    assert error.error_code == code
    assert error.error_message.startswith(starts)
    assert f"{base}/2" in error.error_message
    assert wire.states("m") == {2: "END", 1: "AVAILABLE"}
    assert wire.version("m") == 1
    models.add_version(base, 3)
    until(lambda: wire.states("m") == {3: "AVAILABLE", 2: "END", 1: "END"})


def test_a_version_copied_slowly_is_whole_in_the_end_if_retries_allow(base, serve):
    wire = serve(base, "--max_num_load_retries=1000", "--load_retry_interval_micros=20000")
    work = base / "2"
    work.mkdir()
    until(lambda: wire.states("m") == {2: "LOADING", 1: "AVAILABLE"})
    shutil.copytree(base / "1" / "variables", work / "variables")
    assert wire.version("m") == 1
    shutil.copy(base / "1" / "saved_model.pb", work / "tmp")
    (work / "tmp").rename(work / "saved_model.pb")
    until(lambda: wire.states("m") == {2: "AVAILABLE", 1: "END"})


@pytest.mark.parametrize("name", ["tmp-123", "v2", "2.0", str(2**63), "", "０２"])
def test_a_folder_that_is_no_version_is_ignored(name, base, serve):
    if name:
        shutil.copytree(base / "1", base / name)
    wire = serve(base)
    models.add_version(base, 2)
    until(lambda: wire.version("m") == 2)
    until(lambda: wire.states("m") in ({2: "AVAILABLE"}, {2: "AVAILABLE", 1: "END"}))


def test_a_first_version_that_is_broken_stops_the_start_with_one_sentence(base, make_server):
    half_copied(base / "1")
    with pytest.raises(StartError) as stopped:
        make_server(base).start()
    assert str(stopped.value) == (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 1} due to"
        " error: NOT_FOUND: Could not find SavedModel .pb or .pbtxt at supplied export directory path:"
        f" {base}/1. Check that the directory exists and that you have the right permissions for accessing it.}}, }}"
    )


def test_a_base_path_that_is_not_there_yet_is_waited_for(base, make_server, caplog):
    away = base.with_name("away")
    base.rename(away)
    server = make_server(base)
    with caplog.at_level(logging.ERROR, "local_serving"):
        starting = threading.Thread(target=server.start)
        starting.start()
        until(lambda: "Could not find base path" in caplog.text)
        assert server.grpc_port == 0  # nobody is told that it serves
        threading.Event().wait(0.3)  # more looks, which say nothing new
        away.rename(base)
        starting.join(30)
    assert server.grpc_port
    assert caplog.text.count("Could not find base path") == 1


def test_a_base_path_that_is_a_model_itself_is_told_once_what_is_missing(tmp_path, make_server, caplog):
    """The likeliest slip: `out/cf/model` instead of the folder that it was published to."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"")
    server = make_server(tmp_path / "model")

    def start():
        with contextlib.suppress(StartError):  # it is stopped before there is a version
            server.start()

    with caplog.at_level(logging.WARNING, "local_serving"):
        starting = threading.Thread(target=start)
        starting.start()
        until(lambda: "Did you forget to name your leaf directory as a number" in caplog.text)
        threading.Event().wait(0.3)  # more looks, which say nothing new
        server.stop(5.0)
        starting.join(30)
    assert caplog.text.count("Did you forget") == 1


def test_a_wait_for_a_base_path_ends_when_the_server_is_stopped(tmp_path, make_server):
    server = make_server(tmp_path / "nothing")
    raised = []

    def start():
        try:
            server.start()
        except StartError as error:
            raised.append(str(error))

    starting = threading.Thread(target=start)
    starting.start()
    threading.Event().wait(0.1)
    server.stop(1)
    starting.join(30)
    assert raised == [
        "Failed to start server. Error: CANCELLED: the server was stopped before its models were available"
    ]
