"""Config files: policies, labels and TLS as text protos; a file that cannot be used is one sentence."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from local_serving.config import Model, Policy, models_of, one_model, read_config, read_ssl
from local_serving.errors import StartError, Status
from serving_client.protocol import messages


def parsed(text):
    return text_format.Parse(text, messages.ModelServerConfig())


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", Policy(1)),
        ("model_version_policy { latest {} }", Policy(1)),
        ("model_version_policy { latest { num_versions: 3 } }", Policy(3)),
        ("model_version_policy { all {} }", Policy(None)),
        ("model_version_policy { specific { versions: 7 versions: 2 } }", Policy(None, frozenset({2, 7}))),
    ],
)
def test_a_policy_is_read(policy, expected):
    [model] = models_of(
        parsed(f"model_config_list {{ config {{ name: 'm' base_path: '/m' model_platform: 'tensorflow' {policy} }} }}")
    )
    assert model == Model("m", "/m", policy=expected)


def test_labels_are_read_and_order_is_kept():
    models = models_of(
        parsed(
            "model_config_list { config { name: 'b' base_path: '/b' model_type: TENSORFLOW }"
            " config { name: 'a' base_path: 's3://a' model_platform: 'tensorflow'"
            " version_labels { key: 'stable' value: 3 } version_labels { key: 'canary' value: 4 } } }"
        )
    )
    assert [model.name for model in models] == ["b", "a"]
    assert models[1].labels == {"stable": 3, "canary": 4}


def test_two_flags_stand_for_a_config_of_one_model():
    assert models_of(one_model("cf", "/models/cf")) == (Model("cf", "/models/cf"),)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("model_type: OTHER", "ModelServerConfig::model_type choice 2 not supported."),
        ("model_type: TENSORFLOW model_platform: 'tensorflow'", "Illegal setting both ModelServerConfig::model_type"),
        ("", "Illegal setting neither ModelServerConfig::model_type"),
    ],
)
def test_a_platform_that_is_none_is_refused(entry, says):
    with pytest.raises(Status, match=f"^INVALID_ARGUMENT: {says}"):
        models_of(parsed(f"model_config_list {{ config {{ name: 'm' base_path: '/m' {entry} }} }}"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model_config_list { config { nme: 'm' } }", "is not a valid model server config ("),
        ("\udcff", "cannot be read (not UTF-8); check --model_config_file"),
        (None, "cannot be read (No such file or directory); check --model_config_file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(text, says, tmp_path):
    file = tmp_path / "models.config"
    if text is not None:
        file.write_text(text, errors="surrogateescape")
    with pytest.raises(StartError) as raised:
        read_config(file)
    assert str(raised.value).startswith(f"{file}: {says}")
    assert raised.value.exit_code == 1


def test_the_key_of_a_tls_config_is_not_shown(tmp_path):
    file = tmp_path / "ssl.config"
    file.write_text('server_key: "SECRET" server_cert: "CERT" custom_ca: "CA" client_verify: true')
    ssl = read_ssl(file)
    assert (ssl.server_key, ssl.server_cert, ssl.custom_ca, ssl.client_verify) == (b"SECRET", b"CERT", b"CA", True)
    assert "SECRET" not in repr(ssl)
    file.write_text('server_cert: "CERT"')
    with pytest.raises(StartError, match="has no server_key or no server_cert"):
        read_ssl(file)
