"""Labels stand for versions that are AVAILABLE, and move in the safe order: load both, wait, move."""

from __future__ import annotations

import pytest

from local_serving.errors import StartError
from tests.serving import models
from tests.serving.server.wire import floats, refused, until

UNAVAILABLE = "which is not currently available for inference"


def labelled(base, policy="", **labels):
    entries = " ".join(f"version_labels {{ key: '{label}' value: {version} }}" for label, version in labels.items())
    return models.config_text({"m": base}, m=f"{policy} {entries}")


def answered_by(wire, label):
    return wire.predict("m", {"x": floats([1])}, label=label).model_spec.version.value


def test_a_promotion_loads_both_waits_and_moves_the_label(base, serve):
    wire = serve(base)
    wire.reload(labelled(base, stable=1))
    models.add_version(base, 2)
    both = "model_version_policy { specific { versions: 1 versions: 2 } }"
    wire.reload(labelled(base, both, stable=1))
    until(lambda: wire.states("m") == {2: "AVAILABLE", 1: "AVAILABLE"})
    wire.reload(labelled(base, both, stable=1, canary=2))
    assert (answered_by(wire, "stable"), answered_by(wire, "canary"), wire.version("m")) == (1, 2, 2)
    wire.reload(labelled(base, both, stable=2))
    assert answered_by(wire, "stable") == 2
    answer = refused(answered_by, wire, "canary")
    assert answer == ("INVALID_ARGUMENT", "Unrecognized servable version label: canary")


def test_a_label_for_a_version_that_is_not_available_changes_nothing(base, serve):
    wire = serve(base)
    wire.reload(labelled(base, stable=1))
    answer = refused(wire.reload, labelled(base, stable=1, canary=2))
    assert answer == ("FAILED_PRECONDITION", f"Request to assign label to version 2 of model m, {UNAVAILABLE}")
    answer = refused(wire.reload, labelled(base, stable=2))
    assert answer == ("FAILED_PRECONDITION", f"Request to assign label to version 2 of model m, {UNAVAILABLE}")
    assert answered_by(wire, "stable") == 1
    assert refused(answered_by, wire, "canary")[0] == "INVALID_ARGUMENT"


def test_a_label_whose_version_is_gone_says_which_version(base, serve):
    wire = serve(base)
    wire.reload(labelled(base, stable=1))
    models.add_version(base, 2)
    until(lambda: wire.states("m") == {2: "AVAILABLE", 1: "END"})
    assert refused(answered_by, wire, "stable") == ("NOT_FOUND", "Servable not found for request: Specific(m, 1)")


def test_a_label_of_one_model_is_none_of_another(base, serve, served_models):
    wire = serve(base)
    wire.reload(models.config_text({"m": base, "n": base}, m="version_labels { key: 'stable' value: 1 }"))
    answer = refused(wire.predict, "n", label="stable")
    assert answer == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")


def test_labels_at_the_start_need_the_flag_for_them(base, tmp_path, make_server, serve):
    config = tmp_path / "models.config"
    config.write_text(labelled(base, stable=1))
    with pytest.raises(StartError, match=rf"^Failed to start server. Error: FAILED_PRECONDITION: .* {UNAVAILABLE}$"):
        make_server(None, f"--model_config_file={config}").start()
    wire = serve(None, f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models")
    assert answered_by(wire, "stable") == 1


def test_with_the_flag_a_label_in_use_moves_to_available_versions_alone(base, serve):
    wire = serve(base, "--allow_version_labels_for_unavailable_models=true")
    wire.reload(labelled(base, stable=1, next=9))
    assert refused(answered_by, wire, "next") == ("NOT_FOUND", "Servable not found for request: Specific(m, 9)")
    answer = refused(wire.reload, labelled(base, stable=9))
    assert answer == ("FAILED_PRECONDITION", f"Request to assign label to version 9 of model m, {UNAVAILABLE}")
