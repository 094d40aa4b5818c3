"""Publishing: a version is whole or absent, and numbers only grow, whatever the clock, crashes and other publishers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from transforms.errors import BadInput
from transforms.models import publish as publishing
from transforms.models.manifest import COMPLETE_FILE, listed
from transforms.models.publish import main, publish, rollback, versions


def at(second: int):
    return lambda: second * 1_000_000 + 999_999


@pytest.fixture
def source(tmp_path):
    return make_model(tmp_path / "run" / "model", "first")


def make_model(folder, text):
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/model_card.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def content(folder):
    """The model's files without the list of them."""
    return {file.name: (folder / file.name).read_text() for file in listed(folder)}


def test_a_published_version_is_a_copy_named_by_its_second(source, tmp_path):
    base = tmp_path / "models" / "cf"
    assert publish(source, base, at(1_700_000_000)) == 1_700_000_000
    assert content(base / "1700000000") == content(source)
    assert sorted(path.name for path in base.iterdir()) == [publishing.LOCK_FILE, "1700000000"]


def test_a_version_lists_name_size_and_digest_of_every_file(source, tmp_path):
    """A rollback's list is of its own files; the folder that a trainer wrote is left as it is."""
    (source / "variables" / "_COMPLETE.json").write_text("a file of the model's own")
    publish(source, tmp_path / "cf", at(100))
    rollback(tmp_path / "cf", 100, at(200))
    for version in ("100", "200"):
        files = json.loads((tmp_path / "cf" / version / COMPLETE_FILE).read_bytes())["files"]
        assert files == [
            {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text)}
            for name, text in sorted(content(source).items())
        ]
    assert not (source / COMPLETE_FILE).exists()


@pytest.mark.parametrize("damage", ["cut short", "missing", "added", "list"])
def test_a_version_that_is_not_as_listed_is_not_published_again(damage, source, tmp_path):
    base = tmp_path / "cf"
    publish(source, base, at(100))
    path = base / "100" / {"list": COMPLETE_FILE, "added": "more"}.get(damage, "variables/variables.index")
    if damage == "missing":
        path.unlink()
    else:
        path.write_text("fir")
    says = "is not a list of name" if damage == "list" else f"{path.relative_to(base / '100')} differs from _COMPLETE"
    with pytest.raises(BadInput, match=says):
        rollback(base, 100, at(200))
    assert set(versions(base)) == {100}
    assert not list(base.glob(".tmp-*"))


def test_the_server_may_read_what_was_published(source, tmp_path):
    source.chmod(0o755)
    publish(source, tmp_path / "cf", at(100))
    assert (tmp_path / "cf" / "100").stat().st_mode & 0o777 == 0o755


def test_versions_grow_when_the_clock_goes_back_or_stands(source, tmp_path):
    base = tmp_path / "cf"
    assert [publish(source, base, at(second)) for second in (100, 100, 7, 102, 300)] == [100, 101, 102, 103, 300]


def test_only_integers_are_versions(source, tmp_path):
    base = tmp_path / "cf"
    for name in ("00005", "tmp-900", ".tmp-901", "902.bak", "٩٠٣", "-904"):
        (base / name).mkdir(parents=True)
    assert set(versions(base)) == {5}
    assert publish(source, base, at(1)) == 6


def test_rollback_is_the_old_version_under_a_higher_number(tmp_path):
    base = tmp_path / "cf"
    old, new = make_model(tmp_path / "old", "old"), make_model(tmp_path / "new", "new")
    publish(old, base, at(100))
    publish(new, base, at(200))
    assert rollback(base, 100, at(150)) == 201
    assert content(base / "201") == content(old)
    assert set(versions(base)) == {100, 200, 201}


def test_a_rollback_to_nowhere_names_the_versions_there_are(source, tmp_path):
    publish(source, tmp_path / "cf", at(100))
    with pytest.raises(BadInput, match=r"has no version 99; versions here: 100$"):
        rollback(tmp_path / "cf", 99)
    with pytest.raises(BadInput, match="versions here: none"):
        rollback(tmp_path / "nothing", 99)
    assert not (tmp_path / "nothing").exists()


def test_a_folder_without_a_model_is_not_published(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(BadInput, match=r"holds no saved_model\.pb"):
        publish(tmp_path / "run", tmp_path / "cf")
    assert not (tmp_path / "cf").exists()


def test_an_empty_graph_is_not_published(source, tmp_path):
    (source / "saved_model.pb").write_bytes(b"")
    with pytest.raises(BadInput, match=r"saved_model\.pb is empty"):
        publish(source, tmp_path / "cf")
    assert versions(tmp_path / "cf") == {}


@pytest.mark.parametrize(("name", "target"), [("up", ".."), ("broken", "nowhere")])
def test_a_model_with_an_unusable_link_is_not_published(name, target, source, tmp_path, capsys):
    """A link to a folder above would be copied for ever."""
    (source / name).symlink_to(target)
    assert main([str(source), str(tmp_path / "cf")]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert list((tmp_path / "cf").iterdir()) == []


def test_a_model_is_not_published_into_itself(source, capsys):
    before = content(source)
    assert main([str(source), str(source / "cf")]) == 2
    assert "lies in" in capsys.readouterr().err
    assert content(source) == before


def test_a_file_in_the_place_of_the_folder_of_versions_ends_in_one_sentence(source, tmp_path, capsys):
    (tmp_path / "cf").write_text("a file")
    assert main([str(source), str(tmp_path / "cf")]) == 1
    assert (
        capsys.readouterr().err == f"{tmp_path}/cf: File exists; check the path, its permissions and the free space\n"
    )


CRASH = """
import os, pathlib, sys
from transforms.models.publish import publish
pathlib.Path.rename = lambda *_: os._exit(9)
publish(sys.argv[1], sys.argv[2])
"""


def test_a_crash_before_the_rename_leaves_no_version_and_no_lock(source, tmp_path):
    base = tmp_path / "cf"
    assert subprocess.run([sys.executable, "-c", CRASH, source, base]).returncode == 9
    assert versions(base) == {}
    assert [path.name[:5] for path in base.iterdir() if path.is_dir()] == [".tmp-"]
    assert publish(source, base, at(100)) == 100


def test_a_failed_copy_leaves_nothing(source, tmp_path, monkeypatch):
    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(publishing, "sync_to_disk", full)
    with pytest.raises(OSError, match="no space"):
        publish(source, tmp_path / "cf")
    assert list((tmp_path / "cf").iterdir()) == []


TWENTY = """
import sys
from transforms.models.publish import publish
sys.stdin.read()
print(*(publish(sys.argv[1], sys.argv[2], lambda: 100_000_000) for _ in range(20)))
"""


def test_processes_that_publish_at_once_get_a_version_each(source, tmp_path):
    command = [sys.executable, "-c", TWENTY, source, tmp_path / "cf"]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:  # both have imported and wait; now they start
        process.stdin.close()
    found = [[int(word) for word in process.stdout.read().split()] for process in both]
    for process in both:
        process.stdout.close()
        assert process.wait() == 0
    assert sorted(found[0] + found[1]) == list(range(100, 140))
    assert all(one == sorted(one) for one in found)
    assert set(versions(tmp_path / "cf")) == set(range(100, 140))


def test_the_command_line_prints_the_version_and_ends_in_one_sentence(source, tmp_path, capsys):
    base = tmp_path / "cf"
    assert main([str(source), str(base)]) == 0
    (first,) = versions(base)
    out, err = capsys.readouterr()
    assert out == f"{base / str(first)}\n"
    assert err.count("\n") == 1
    assert f"published as version {first}" in err
    assert main(["rollback", str(base), f"--to={first}"]) == 0
    second = max(versions(base))
    assert second > first
    assert capsys.readouterr().out == f"{base / str(second)}\n"
    assert main(["rollback", str(base), "--to=5"]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    with pytest.raises(SystemExit) as stopped:
        main(["rollback", str(base)])
    assert stopped.value.code == 2


def test_publishing_needs_neither_tensorflow_nor_beam_nor_arrow():
    code = """
import sys, transforms.models.publish, serving_client.contracts.signatures
assert not {"tensorflow", "apache_beam", "pyarrow", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
