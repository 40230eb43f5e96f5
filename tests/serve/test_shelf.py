"""The folder of artworks: what is listed, verified, replaced, kept."""

import asyncio
import os

import pytest

from gateways import make_artwork
from pixeltune.artwork.artwork import ArtworkError
from pixeltune.serve.shelf import Shelf


@pytest.fixture
def folder(tmp_path):
    make_artwork(0).save(tmp_path / "artworks" / "art.png")
    make_artwork(1).save(tmp_path / "artworks" / "team" / "one.png")
    return tmp_path / "artworks"


def refreshed(folder, **options):
    shelf = Shelf(folder, **options)
    asyncio.run(shelf.refresh())
    return shelf


def take(shelf, name):
    return asyncio.run(shelf.picture(name))


def test_names_are_paths_below_the_folder(folder):
    shelf = refreshed(folder)
    assert shelf.entries.keys() == {"art", "team/one"}
    assert shelf.entries["art"].base == "base"
    assert shelf.entries["art"].task == "noise"
    assert shelf.entries["art"].sha256 == make_artwork(0).sha256
    assert take(shelf, "team/one").sha256 == make_artwork(1).sha256


def test_the_file_itself_is_sent(folder):
    import base64

    url = take(refreshed(folder), "art").url
    assert base64.b64decode(url.removeprefix(b"data:image/png;base64,")) == (folder / "art.png").read_bytes()


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "team/../art", "art.png", "", ".", "art\0", "ART"]
)
def test_names_cannot_leave_the_folder(folder, name):
    make_artwork(5).save(folder.parent / "secret.png")
    with pytest.raises(KeyError):
        take(refreshed(folder), name)


def test_links_to_the_outside_and_hidden_files_are_left_out(folder):
    outside = make_artwork(5).save(folder.parent / "secret.png")
    os.symlink(outside, folder / "linked.png")
    os.symlink(folder.parent, folder / "up")
    os.symlink(folder / "art.png", folder / "again.png")
    make_artwork(6).save(folder / ".hidden.png")
    assert refreshed(folder).entries.keys() == {"art", "team/one", "again"}


def test_a_changed_file_takes_the_old_ones_place(folder):
    shelf = refreshed(folder)
    assert take(shelf, "art").sha256 == make_artwork(0).sha256
    make_artwork(7).save(folder / "art.png")
    asyncio.run(shelf.refresh())
    assert take(shelf, "art").sha256 == make_artwork(7).sha256
    assert shelf.entries["art"].sha256 == make_artwork(7).sha256


@pytest.mark.parametrize("cut", [10, 300, -1])
def test_of_a_half_written_file_the_old_one_stays(folder, cut, caplog):
    shelf = refreshed(folder)
    old = take(shelf, "art")
    (folder / "art.png").write_bytes(make_artwork(7).png()[:cut])
    asyncio.run(shelf.refresh())
    asyncio.run(shelf.refresh())
    assert take(shelf, "art") == old
    reports = [r for r in caplog.records if r.message == "artwork cannot be served"]
    assert len(reports) == 1  # once, not every second
    assert (reports[0].artwork, reports[0].old_one_stays) == ("art", True)
    make_artwork(7).save(folder / "art.png")
    asyncio.run(shelf.refresh())
    assert take(shelf, "art").sha256 == make_artwork(7).sha256


def test_a_broken_file_that_was_never_good_is_reported_and_not_served(folder, caplog):
    (folder / "new.png").write_bytes(make_artwork(7).png()[:100])
    shelf = refreshed(folder)
    assert shelf.entries["new"].error
    assert "truncated" in caplog.records[0].reason
    with pytest.raises(ArtworkError):
        take(shelf, "new")


def test_damage_behind_the_header_is_found_before_the_first_use(folder):
    data = bytearray(make_artwork(7).png())
    data[-200] ^= 1
    (folder / "new.png").write_bytes(data)
    shelf = refreshed(folder)
    assert shelf.entries["new"].error is None  # a glance does not see it
    with pytest.raises(ArtworkError, match="checksum"):
        take(shelf, "new")


def test_a_placement_that_is_unknown_here_is_refused(folder):
    make_artwork(7, placement="at the end").save(folder / "new.png")
    assert "placement" in refreshed(folder).entries["new"].error


def test_a_removed_file_is_gone(folder):
    shelf = refreshed(folder)
    take(shelf, "art")
    (folder / "art.png").unlink()
    asyncio.run(shelf.refresh())
    assert shelf.entries.keys() == {"team/one"}
    with pytest.raises(KeyError):
        take(shelf, "art")


def test_memory_is_bounded_and_the_least_recently_used_goes_first(folder):
    for seed in range(10):
        make_artwork(seed).save(folder / f"n{seed}.png")
    size = len(take(refreshed(folder), "n0").url)
    shelf = refreshed(folder, cache_bytes=int(2.5 * size))
    for name in ("n0", "n1", "n0", "n2"):
        take(shelf, name)
    assert list(shelf._kept) == ["n0", "n2"]
    assert take(shelf, "n1").sha256 == make_artwork(1).sha256  # read again


def test_many_requests_read_a_file_once(folder, monkeypatch):
    shelf = refreshed(folder)
    loads, load = [], shelf._load
    monkeypatch.setattr(shelf, "_load", lambda name: loads.append(name) or load(name))

    async def ask():
        return await asyncio.gather(*(shelf.picture("art") for _ in range(50)))

    pictures = asyncio.run(ask())
    assert loads == ["art"]
    assert len({id(picture) for picture in pictures}) == 1


def test_no_folder_is_an_error():
    with pytest.raises(ValueError, match="--artworks"):
        Shelf("/nowhere/at/all")
