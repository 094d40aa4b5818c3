"""Decision ids: random, signed for one bandit, and verified while keys are replaced."""

from __future__ import annotations

import base64
import hmac
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.router.ids import KEYS_VARIABLE, DecisionKeys, Forged, new_id

OLD, NEW = b"o" * 16, b"n" * 32
texts = st.text(max_size=40)
ids = st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8"), min_size=1, max_size=40)


def test_an_id_is_the_base64url_of_16_bytes() -> None:
    for one in [new_id() for _ in range(100)]:
        data = base64.b64decode(one + "==", b"-_", validate=True)
        assert len(data) == 16
        assert base64.urlsafe_b64encode(data).decode().rstrip("=") == one


def test_ids_do_not_repeat() -> None:
    assert len({new_id() for _ in range(1_000)}) == 1_000


FORKS = """
import os
from serving_client.router.ids import new_id
new_id()  # leaves 31 prepared ids behind
child = os.fork()
if child:
    os.waitpid(child, 0)
os.write(1, "".join(new_id() + " " for _ in range(31)).encode())
"""


def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    """Without a reset both processes would use the same 31 prepared ids."""
    ran = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    assert len(ran.stdout.split()) == len(set(ran.stdout.split())) == 62


@given(bandit_id=texts, decision_id=texts, key=st.binary(min_size=16, max_size=100))
def test_the_signature_is_hmac_sha256_over_bandit_nul_id(bandit_id: str, decision_id: str, key: bytes) -> None:
    mac = hmac.digest(key, bandit_id.encode() + b"\0" + decision_id.encode(), "sha256")[:12]
    signed = DecisionKeys({"k1": key}).sign(bandit_id, decision_id)
    assert signed == f"{decision_id}.k1.{base64.urlsafe_b64encode(mac).decode()}"


@given(bandit_id=texts, decision_id=ids)
def test_a_signed_id_is_accepted(bandit_id: str, decision_id: str) -> None:
    keys = DecisionKeys({"k1": NEW})
    keys.verify(bandit_id, keys.sign(bandit_id, decision_id))


def test_after_a_change_of_keys_new_ids_carry_the_new_key_and_old_ids_stay_valid() -> None:
    old = DecisionKeys({"k1": OLD}).sign("home", new_id())
    both = DecisionKeys({"k2": NEW, "k1": OLD})
    new = both.sign("home", new_id())
    assert new.split(".")[1] == "k2"
    both.verify("home", old)
    both.verify("home", new)
    with pytest.raises(Forged, match="unknown key 'k1'"):
        DecisionKeys({"k2": NEW}).verify("home", old)


def changed(signed: str, at: int) -> str:
    return signed[:at] + ("A" if signed[at] != "A" else "B") + signed[at + 1 :]


@pytest.mark.parametrize("at", [0, 21, -1, -16])
def test_a_change_of_one_character_is_recognised(at: int) -> None:
    keys = DecisionKeys({"k1": NEW})
    signed = keys.sign("home", new_id())
    with pytest.raises(Forged, match="wrong for bandit 'home'"):
        keys.verify("home", changed(signed, at % len(signed)))


@pytest.mark.parametrize("bandit_id", ["other", "hom", ""])
def test_an_id_of_another_bandit_is_recognised(bandit_id: str) -> None:
    keys = DecisionKeys({"k1": NEW})
    with pytest.raises(Forged, match="wrong for bandit"):
        keys.verify(bandit_id, keys.sign("home", new_id()))


@pytest.mark.parametrize(
    "text", ["", "abc", "a.b", "..", "a.k1.", "a.k1.é", "a.k1.\ud800", "\ud800.k1.x", "a" * 10_000]
)
def test_a_text_that_is_no_signed_id_is_forged(text: str) -> None:
    with pytest.raises(Forged):
        DecisionKeys({"k1": NEW}).verify("home", text)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padding", [b"", b"="])
def test_keys_come_from_the_environment_and_the_first_signs(encode, padding) -> None:  # type: ignore[no-untyped-def]
    first, second = b"\xfb\xff" * 16, b"\xfa" * 17
    text = f"k2:{encode(first).rstrip(b'=' if not padding else b'').decode()}, k1:{encode(second).decode()}"
    keys = DecisionKeys.from_environment({KEYS_VARIABLE: text})
    assert keys is not None
    assert keys.sign("home", "a") == DecisionKeys({"k2": first}).sign("home", "a")
    keys.verify("home", DecisionKeys({"k1": second}).sign("home", "a"))


def test_without_the_variable_there_are_no_keys() -> None:
    assert DecisionKeys.from_environment({}) is None
    assert DecisionKeys.from_environment({KEYS_VARIABLE: " "}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SECRETSECRETSECRETSECRET", "entry 1 is not KEY_ID:BASE64"),
        ("k1:U0VDUkVUU0VDUkVUU0VDUkVU,", "entry 2 is not KEY_ID:BASE64"),
        ("k1:U0VDUkVUU0VDUkVUU0VDUkVU,k1:U0VDUkVUU0VDUkVUU0VDUkVU", "entry 2 repeats the key id 'k1'"),
        ("k1:SECRET!SECRET", "entry 1 has a key that is not base64"),
        ("k1:U0VDUkVU", "key k1 has 6 bytes; use at least 16"),
        ("k.1:U0VDUkVUU0VDUkVUU0VDUkVU", "key id 'k.1' is not"),
    ],
)
def test_an_invalid_variable_is_refused_without_showing_a_key(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        DecisionKeys.parse(text)
    assert "SECRET" not in str(caught.value)
    assert "U0VD" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_representation_shows_key_ids_alone() -> None:
    assert repr(DecisionKeys({"k2": NEW, "k1": OLD})) == "DecisionKeys(k2, k1)"


def test_no_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="give at least one"):
        DecisionKeys({})
