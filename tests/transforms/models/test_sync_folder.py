"""Sync from a folder that others write to: what is half there is not taken for a version, and what was wrong is mended.

The clock of sync is the machine's own, moved ahead: LATER is past the time in which nothing may change.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.errors import BadInput
from transforms.models import sync_source
from transforms.models.manifest import COMPLETE_FILE, dump, hashed, listed
from transforms.models.sync import main, sync

FILES = {"saved_model.pb": "graph of {}", "variables/variables.index": "index of {}", "assets/vocabulary": "a\nb\n"}
SETTLE_S = sync_source.SETTLE_S
LATER, SOON = SETTLE_S + 5.0, SETTLE_S - 30.0


def ahead(seconds):
    return lambda: time.time() + seconds


def make_model(folder, version, published=False):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.format(version))
    if published:
        (folder / COMPLETE_FILE).write_bytes(dump(hashed(folder)))


def is_whole(folder, version):
    return {file.name: (folder / file.name).read_text() for file in listed(folder)} == {
        name: text.format(version) for name, text in FILES.items()
    }


def local_versions(local):
    return {int(path.name) for path in local.iterdir() if path.is_dir()}


@pytest.fixture
def source(tmp_path):
    """A folder with the published version 300."""
    make_model(tmp_path / "source" / "cf" / "300", 300, published=True)
    return tmp_path / "source" / "cf"


@pytest.fixture
def local(tmp_path):
    return tmp_path / "cf"


writes = st.lists(st.tuples(st.sampled_from(sorted(FILES)), st.floats(0.0, 1.0)), max_size=8)
rounds = st.lists(st.sampled_from([0.0, SOON, LATER]), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(writes=writes, offsets=rounds, keeps_times=st.booleans())
def test_a_version_that_is_copied_piece_by_piece_never_costs_the_good_one_and_is_whole_in_the_end(
    writes, offsets, keeps_times
):
    """Any files of 400 in any order, cut anywhere, with pauses of any length and times as `rsync -t` sets them."""
    with tempfile.TemporaryDirectory() as folder:
        source, local = Path(folder, "source"), Path(folder, "cf")
        make_model(source / "300", 300, published=True)
        sync(str(source), local, 1)
        for place, (name, share) in enumerate(writes):
            path, text = source / "400" / name, FILES[name].format(400)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text[: int(share * len(text))])
            if keeps_times:
                os.utime(path, (1_000_000, 1_000_000))
            offset = offsets[place % len(offsets)]
            done = sync(str(source), local, 1, clock=ahead(offset))
            assert is_whole(local / "300", 300)
            if offset < SETTLE_S:
                assert done.brought == ()
        make_model(source / "400", 400)
        if keeps_times:
            for file in listed(source / "400"):
                os.utime(source / "400" / file.name, (2_000_000, 2_000_000))
        sync(str(source), local, 1, clock=ahead(LATER))
        assert is_whole(local / "400", 400)
        assert is_whole(local / "300", 300)  # the newest that was checked
        assert sync(str(source), local, 1, clock=ahead(LATER)).brought == ()


@settings(max_examples=30, deadline=None)
@given(order=st.permutations([*FILES, COMPLETE_FILE]), share=st.floats(0.0, 1.0), offsets=rounds)
def test_a_published_version_that_is_copied_piece_by_piece_appears_only_whole(order, share, offsets):
    with tempfile.TemporaryDirectory() as folder:
        source, local = Path(folder, "source"), Path(folder, "cf")
        make_model(source / "300", 300, published=True)
        sync(str(source), local, 1)
        make_model(Path(folder, "made", "400"), 400, published=True)
        for place, name in enumerate(order):
            for part in (share, 1.0):
                body = (Path(folder, "made", "400") / name).read_bytes()
                path = source / "400" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body[: int(part * len(body))])
                listed_yet = (source / "400" / COMPLETE_FILE).is_file()
                offset = offsets[place % len(offsets)] if listed_yet else SOON
                sync(str(source), local, 1, clock=ahead(offset))
                assert is_whole(local / ("400" if (local / "400").exists() else "300"), max(local_versions(local)))
        done = sync(str(source), local, 1, clock=ahead(0.0))
        assert local_versions(local) == {400}
        assert done.settling == ()
        assert (local / "400" / COMPLETE_FILE).read_bytes() == (source / "400" / COMPLETE_FILE).read_bytes()


@pytest.mark.parametrize("published", [True, False])
def test_a_version_that_changed_at_the_source_is_brought_again(published, source, local):
    """With the same sizes: a list tells by its hashes, other versions by their times."""
    make_model(source / "400", 400, published)
    assert sync(str(source), local, 1, clock=ahead(LATER)).brought == (400,)
    for name in FILES:
        (source / "400" / name).write_text(FILES[name].format(444))
        os.utime(source / "400" / name, (time.time() + 10, time.time() + 10))
    if published:
        (source / "400" / COMPLETE_FILE).write_bytes(dump(hashed(source / "400")))
    assert sync(str(source), local, 1, clock=ahead(LATER)).brought == (400,)
    assert is_whole(local / "400", 444)
    assert sync(str(source), local, 1, clock=ahead(LATER)).brought == ()
    assert local_versions(local) == {400}
    assert not list(local.glob(".tmp-*"))


def test_a_copy_that_was_damaged_here_is_mended(source, local):
    sync(str(source), local, 1)
    (local / "300" / "saved_model.pb").write_text("gra")
    assert sync(str(source), local, 1).brought == (300,)
    assert is_whole(local / "300", 300)


def test_a_truncated_file_is_refused_the_good_version_stays_and_the_mended_one_comes(source, local, capsys):
    make_model(local / "200", 200)
    make_model(source / "400", 400, published=True)
    (source / "400" / "saved_model.pb").write_text("gra")
    done = sync(str(source), local, 1, clock=ahead(SOON))
    assert (done.brought, done.settling) == ((300,), (400,))  # it may still be on its way
    make_model(local / "200", 200)
    done = sync(str(source), local, 1, clock=ahead(LATER))
    assert (done.removed, set(done.refused)) == ((), {400})
    assert "saved_model.pb: has 3 bytes, but 12 are listed" in str(done.refused[400])
    assert local_versions(local) == {200, 300}
    make_model(source / "400", 400, published=True)
    assert sync(str(source), local, 1).brought == (400,)
    assert local_versions(local) == {400}


def test_the_command_says_what_it_left_and_why(source, local, capsys):
    make_model(source / "400", 400)
    assert main([str(source), str(local), "--keep=1"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(local / "300")]
    assert err.splitlines()[-1] == (
        f"{local}: copied 300 from {source}; 400 may be incomplete (_COMPLETE.json is missing or does not fit, and the "
        "last change is less than 60 s old), so sync again later"
    )
    shutil.rmtree(source / "300")
    assert main([str(source), str(local), "--keep=1"]) == 3
    assert capsys.readouterr().err.startswith(f"{source}: has no whole version; 400 may be incomplete")


def test_a_version_that_changes_while_it_is_copied_is_refused(source, local, monkeypatch):
    make_model(source / "400", 400)
    opened = sync_source._open

    def changing(uri):
        if uri.endswith("saved_model.pb"):
            (source / "400" / "assets" / "more").write_text("more")
        return opened(uri)

    monkeypatch.setattr(sync_source, "_open", changing)
    done = sync(str(source), local, 1, clock=ahead(LATER))
    assert "changed while it was copied" in str(done.refused[400])
    assert not (local / "400").exists()


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_an_empty_one(source, local, monkeypatch):
    make_model(source / "400", 400)
    scan = os.scandir

    def denied(place):
        if str(place).endswith("variables"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(PermissionError):
        sync(str(source), local, 1, clock=ahead(LATER))
    assert not (local / "400").exists()


def test_files_of_linked_folders_belong_to_the_version(source, local, tmp_path):
    make_model(tmp_path / "elsewhere", 400)
    (source / "400").mkdir()
    for place in tmp_path.joinpath("elsewhere").iterdir():
        (source / "400" / place.name).symlink_to(place)
    sync(str(source), local, 1, clock=ahead(LATER))
    assert is_whole(local / "400", 400)


def test_a_source_without_any_version_is_bad_input(tmp_path, local):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="has no whole version; publish one with recbeam publish"):
        sync(str(tmp_path / "empty"), local)
