"""A new version takes the place of the old one without a request that fails, and nothing that is wanted goes first."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from local_serving.servables import Servables, State
from tests.serving import models
from tests.serving.server.wire import Wire, floats, refused, tensor, until


def test_2000_requests_from_8_threads_meet_5_new_versions_and_none_fails(base, serve):
    wire = serve(base)
    wires = [Wire(wire.port) for _ in range(8)]
    swapped = threading.Event()

    def ask(own):
        versions = []
        while len(versions) < 250 or not swapped.is_set():
            answer = own.predict("m", {"x": floats([2.0])})
            assert list(answer.outputs["y"].float_val) == [3.0]
            versions.append(answer.model_spec.version.value)
        return versions

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, own) for own in wires]
        try:
            for version in range(2, 7):
                models.add_version(base, version)
                until(lambda version=version: wire.version("m") == version)
        finally:
            swapped.set()
        seen = [one.result() for one in asked]
    for own in wires:
        own.channel.close()
    assert sum(map(len, seen)) >= 2000
    assert set().union(*seen) >= {1, 6}
    assert all(versions == sorted(versions) for versions in seen)  # no request goes back to an older one
    until(lambda: wire.states("m") == {6: "AVAILABLE"} | dict.fromkeys(range(5, 0, -1), "END"))


def test_a_request_in_flight_finishes_on_its_version_before_that_is_closed(served_models, tmp_path, serve):
    base = tmp_path / "slow"
    shutil.copytree(served_models["slow"], base)
    wire = serve(base)
    rounds = 2 * models.SLOW_ROUNDS_PER_S
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(wire.predict, "m", {"rounds": tensor([rounds], np.int64)})
        threading.Event().wait(0.1)
        models.add_version(base, 2)
        until(lambda: wire.states("m") == {2: "AVAILABLE", 1: "UNLOADING"})
        assert not flying.done()  # the old version is out of service, and open
        assert wire.predict("m", {"rounds": tensor([1], np.int64)}).model_spec.version.value == 2
        assert refused(wire.predict, "m", version=1) == (
            "NOT_FOUND", "Servable not found for request: Specific(m, 1)"
        )  # fmt: skip
        answer = flying.result()
    assert answer.model_spec.version.value == 1
    assert list(answer.outputs["rounds"].int64_val) == [rounds]
    until(lambda: wire.states("m") == {2: "AVAILABLE", 1: "END"})


def test_a_lower_number_changes_nothing(base, serve):
    models.add_version(base, 5)
    wire = serve(base)
    models.add_version(base, 3)
    models.add_version(base, 6)  # seen by the same look or a later one
    until(lambda: wire.version("m") == 6)
    assert 3 not in wire.states("m")
    assert 1 not in wire.states("m")


def test_the_highest_version_removed_gives_way_to_the_one_below(base, serve):
    models.add_version(base, 2)
    wire = serve(base)
    assert wire.version("m") == 2
    shutil.rmtree(base / "2")
    until(lambda: wire.states("m") == {2: "END", 1: "AVAILABLE"})
    assert wire.version("m") == 1


def test_the_last_version_removed_while_serving_unloads_and_comes_back(base, serve):
    wire = serve(base)
    (base / "1").rename(base / "tmp-1")
    until(lambda: wire.states("m") == {1: "END"})
    assert refused(wire.version, "m") == ("NOT_FOUND", "Servable not found for request: Latest(m)")
    (base / "tmp-1").rename(base / "1")
    until(lambda: wire.states("m") == {1: "AVAILABLE"})
    assert wire.version("m") == 1


def test_a_base_path_that_goes_away_leaves_the_model_serving(base, serve):
    wire = serve(base)
    base.rename(base.with_name("gone"))
    began = time.monotonic()
    while time.monotonic() < began + 0.2:  # ten looks
        assert wire.version("m") == 1
    base.with_name("gone").rename(base)
    models.add_version(base, 2)
    until(lambda: wire.version("m") == 2)


class Gate:
    """Loads that wait to be let through, by version; what they give is a model that remembers being closed."""

    def __init__(self, fail=()):
        self.fail, self.let, self.tries, self.order, self.closed = set(fail), {}, [], [], []

    def __call__(self, name, version, path):
        self.tries.append(version)
        assert self.let.setdefault(version, threading.Event()).wait(30)
        self.order.append(version)
        if version in self.fail:
            raise OSError(f"version {version} is broken")
        gate = self

        class Loaded:
            def close(self):
                gate.closed.append(version)

        return Loaded()

    def open(self, *versions):
        for version in versions:
            self.let.setdefault(version, threading.Event()).set()


def states(servables):
    return {version: row.state.name for version, row in servables.states("m").items()}


def test_a_version_loads_beside_the_old_one_which_goes_when_it_serves(tmp_path):
    gate = Gate()
    servables = Servables(gate, retries=0)
    servables.aspire("m", {1: tmp_path})
    assert states(servables)[1] in ("START", "LOADING")
    until(lambda: states(servables) == {1: "LOADING"})
    gate.open(1)
    until(lambda: states(servables) == {1: "AVAILABLE"})
    servables.aspire("m", {2: tmp_path})
    until(lambda: states(servables) == {2: "LOADING", 1: "AVAILABLE"})
    with servables.handle("m") as handle:
        assert handle.version == 1
        gate.open(2)
        until(lambda: states(servables) == {2: "AVAILABLE", 1: "UNLOADING"})
        assert gate.closed == []
    until(lambda: states(servables) == {2: "AVAILABLE", 1: "END"})
    assert gate.closed == [1]
    assert servables.close(30)
    assert gate.closed == [1, 2]


def test_one_version_loads_at_a_time_the_highest_first(tmp_path):
    gate = Gate()
    servables = Servables(gate, retries=0, load_threads=1)
    servables.aspire("m", dict.fromkeys((1, 2, 3), tmp_path))
    until(lambda: gate.tries == [3])
    assert states(servables) == {3: "LOADING", 2: "START", 1: "START"}
    gate.open(1, 2, 3)
    until(lambda: set(states(servables).values()) == {"AVAILABLE"})
    assert gate.order == [3, 2, 1]
    assert servables.close(30)


def test_a_version_that_is_not_wanted_any_more_when_it_has_loaded_is_unloaded(tmp_path):
    gate = Gate()
    servables = Servables(gate, retries=0)
    servables.aspire("m", {1: tmp_path})
    until(lambda: gate.tries == [1])
    servables.aspire("m", {})
    gate.open(1)
    until(lambda: states(servables) == {1: "END"})
    assert gate.closed == [1]


def test_a_failed_load_is_tried_again_as_often_as_allowed_and_no_longer_than_wanted(tmp_path):
    gate = Gate(fail=[1, 2])
    gate.open(1, 2)
    servables = Servables(gate, retries=3, retry_delay_s=0.001)
    servables.aspire("m", {1: tmp_path})
    until(lambda: states(servables) == {1: "END"})
    assert gate.tries == [1] * 4
    assert str(servables.states("m")[1].error) == f"UNKNOWN: {tmp_path}: version 1 is broken"
    servables.aspire("m", {1: tmp_path})  # the next look finds it again: given up is given up
    assert gate.tries == [1] * 4
    patient = Servables(gate, retries=1000, retry_delay_s=1000)
    patient.aspire("m", {2: tmp_path})
    until(lambda: gate.tries[-1] == 2)
    patient.aspire("m", {})
    until(lambda: patient.states("m")[2].state is State.END)
    assert gate.tries.count(2) == 1


def test_a_failed_version_is_tried_anew_when_its_folder_was_away(tmp_path):
    gate = Gate(fail=[1])
    gate.open(1)
    servables = Servables(gate, retries=0)
    servables.aspire("m", {1: tmp_path})
    until(lambda: states(servables) == {1: "END"})
    gate.fail.clear()
    servables.aspire("m", {})
    servables.aspire("m", {1: tmp_path})
    until(lambda: states(servables) == {1: "AVAILABLE"})
    assert servables.close(30)


def test_while_a_load_waits_for_its_next_try_others_load(tmp_path):
    gate = Gate(fail=[2])
    gate.open(1, 2)
    servables = Servables(gate, retries=1, retry_delay_s=1000)
    servables.aspire("m", {1: tmp_path, 2: tmp_path})
    until(lambda: states(servables) == {2: "LOADING", 1: "AVAILABLE"})
    assert servables.close(30)
