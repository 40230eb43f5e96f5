"""The folder of artworks: what is listed, verified, replaced, kept."""

import asyncio
import os
import shutil

import pytest

from gateways import make_artwork
from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.png import ArtworkError
from pixeltune.errors import UserError
from pixeltune.serve import folder as looking
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


def left_out(caplog):
    return [(record.path, record.reason) for record in caplog.records if record.message == "left out"]


def unreadable(monkeypatch, *names):
    """Folders of these names cannot be listed; rights would not stop the superuser who may run the tests."""
    scandir, names = os.scandir, list(names)

    def refuse(path):
        if os.path.basename(path) in names:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return names


def test_other_pictures_are_left_out_with_the_reason(folder, caplog):
    for name in ("art.jpg", "team/two.webp", "LOUD.PNG", "notes.txt"):
        (folder / name).write_bytes(b"x")
    shelf = refreshed(folder)
    assert shelf.entries.keys() == {"art", "team/one"}
    assert sorted(left_out(caplog)) == [
        (name, looking.NO_PNG) for name in ("LOUD.PNG", "art.jpg", "team/two.webp")
    ]


def test_an_unreadable_folder_is_left_out_and_the_rest_is_served_and_refreshed(folder, monkeypatch, caplog):
    (folder / "lost+found").mkdir()
    (folder / "team" / "private").mkdir()
    make_artwork(3).save(folder / "team" / "private" / "x.png")
    refused = unreadable(monkeypatch, "lost+found", "private")
    shelf = refreshed(folder)
    assert shelf.entries.keys() == {"art", "team/one"}
    make_artwork(7).save(folder / "new.png")
    asyncio.run(shelf.refresh())
    assert shelf.entries.keys() == {"art", "team/one", "new"}
    reason = "cannot be read (Permission denied)"  # told once, not at each look
    assert sorted(left_out(caplog)) == [("lost+found/", reason), ("team/private/", reason)]
    refused.remove("private")
    asyncio.run(shelf.refresh())
    assert "team/private/x" in shelf.entries
    refused.append("private")
    asyncio.run(shelf.refresh())
    assert "team/private/x" not in shelf.entries
    assert len(left_out(caplog)) == 3  # it was away in between


def test_a_served_folder_that_cannot_be_read_is_an_error_that_says_so(folder, monkeypatch):
    unreadable(monkeypatch, "artworks")
    with pytest.raises(UserError, match=r"Permission denied.*--artworks"):
        Shelf(folder)


def test_a_file_whose_rights_are_mended_is_served(folder, monkeypatch, caplog):
    """Neither its bytes nor their time change."""
    load, peek = Artwork.load, Artwork.peek

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Artwork, "peek", staticmethod(refuse))
    shelf = refreshed(folder)
    asyncio.run(shelf.refresh())
    assert "Permission denied" in shelf.entries["art"].error
    assert len([record for record in caplog.records if getattr(record, "artwork", "") == "art"]) == 1
    monkeypatch.setattr(Artwork, "peek", staticmethod(peek))
    asyncio.run(shelf.refresh())
    assert shelf.entries["art"].error is None
    assert take(shelf, "art").sha256 == load(folder / "art.png").sha256


def test_a_served_folder_that_is_a_link_is_followed_at_each_look(folder, tmp_path):
    """As git-sync swaps it: a new tree, and then the link in one step."""
    current = tmp_path / "current"
    current.symlink_to("artworks")
    shelf = refreshed(current)
    assert take(shelf, "art").sha256 == make_artwork(0).sha256
    make_artwork(8).save(tmp_path / "next" / "art.png")
    make_artwork(9).save(tmp_path / "next" / "added.png")
    (tmp_path / "swap").symlink_to("next")
    os.replace(tmp_path / "swap", current)
    asyncio.run(shelf.refresh())
    assert shelf.entries.keys() == {"art", "added"}
    assert take(shelf, "art").sha256 == make_artwork(8).sha256
    assert take(shelf, "added").sha256 == make_artwork(9).sha256


def test_while_the_link_leads_nowhere_what_is_known_stays(folder, tmp_path):
    current = tmp_path / "current"
    current.symlink_to("artworks")
    shelf = refreshed(current)
    os.replace(folder, tmp_path / "moved")
    with pytest.raises(OSError, match="No such file"):
        asyncio.run(shelf.refresh())
    assert shelf.entries.keys() == {"art", "team/one"}
    with pytest.raises(ArtworkError, match="No such file"):
        take(shelf, "art")
    os.replace(tmp_path / "moved", folder)
    assert take(shelf, "art").sha256 == make_artwork(0).sha256  # it was away, not broken
    make_artwork(7).save(folder / "new.png")
    asyncio.run(shelf.refresh())
    assert "new" in shelf.entries


def test_the_links_of_a_configmap_are_served_and_swapped(tmp_path):
    """Kubernetes: `..data` leads to a folder with a date, and every name to one in `..data`."""
    mount = tmp_path / "mount"

    def write(date, seed):
        make_artwork(seed).save(mount / f"..{date}" / "art.png")
        make_artwork(seed + 1).save(mount / f"..{date}" / "team-a" / "one.png")
        (mount / "..data_tmp").symlink_to(f"..{date}")
        os.replace(mount / "..data_tmp", mount / "..data")

    write("2024_01", 0)
    (mount / "art.png").symlink_to("..data/art.png")
    (mount / "team-a").symlink_to("..data/team-a")
    shelf = refreshed(mount)
    assert shelf.entries.keys() == {"art", "team-a/one"}
    assert take(shelf, "team-a/one").sha256 == make_artwork(1).sha256
    write("2024_02", 5)
    asyncio.run(shelf.refresh())
    assert shelf.entries.keys() == {"art", "team-a/one"}
    assert take(shelf, "art").sha256 == make_artwork(5).sha256
    assert take(shelf, "team-a/one").sha256 == make_artwork(6).sha256


def test_linked_folders_are_served_without_loops_and_without_the_outside(folder, caplog):
    make_artwork(5).save(folder.parent / "outside" / "secret.png")
    make_artwork(6).save(folder / "team" / "deep" / "two.png")
    os.symlink("team", folder / "again")
    os.symlink("..", folder / "team" / "up")  # to the served folder itself
    os.symlink(".", folder / "team" / "deep" / "self")
    os.symlink("../outside", folder / "out")
    os.symlink("team/up/../outside", folder / "sly")
    os.symlink("circle", folder / "circle.png")
    os.symlink("circle.png", folder / "circle")
    shelf = refreshed(folder)
    asyncio.run(shelf.refresh())
    names = {"art", "team/one", "team/deep/two", "again/one", "again/deep/two"}
    assert shelf.entries.keys() == names
    assert take(shelf, "again/deep/two").sha256 == make_artwork(6).sha256
    reasons = dict(left_out(caplog))
    assert len(reasons) == len(left_out(caplog))
    assert reasons["out"] == "links to outside of the folder"
    assert reasons["team/up"] == "links to a folder that it lies in"


def test_folders_that_link_each_other_do_not_hold_up_a_look(folder, monkeypatch, caplog):
    """Twelve have more paths without a loop than anyone could walk."""
    monkeypatch.setattr(looking, "MAX_LINKED", 100)
    for number in range(12):
        make_artwork(2).save(folder / f"f{number}" / "x.png")
        for other in range(12):
            os.symlink(f"../f{other}", folder / f"f{number}" / f"to{other}")
    shelf = refreshed(folder)
    asyncio.run(shelf.refresh())
    assert {"art", "team/one", "f11/x", "f0/to1/x"} <= shelf.entries.keys()
    assert len(shelf.entries) == 2 + 12 + 100
    assert len([path for path, reason in left_out(caplog) if "linked folders" in reason]) == 1


def test_a_new_file_is_seen_though_size_time_and_inode_are_the_old_ones(folder):
    """As where a tree is copied with its times."""
    shelf = refreshed(folder)
    take(shelf, "art")
    facts = (folder / "art.png").stat()
    changed = make_artwork(0, data="n0ise").png()
    assert len(changed) == facts.st_size
    (folder / "art.png").write_bytes(changed)
    os.utime(folder / "art.png", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (folder / "art.png").stat().st_ino == facts.st_ino
    asyncio.run(shelf.refresh())
    assert shelf.entries["art"].task == "n0ise"


def test_a_tree_that_is_swapped_and_taken_away_under_a_look_is_looked_at_anew(folder, tmp_path, monkeypatch):
    current = tmp_path / "current"
    current.symlink_to("artworks")
    make_artwork(8).save(tmp_path / "next" / "art.png")
    make_artwork(9).save(tmp_path / "next" / "team" / "one.png")
    shelf, scandir = refreshed(current), os.scandir

    def swap(path):
        if str(path).endswith("team") and folder.exists():
            (tmp_path / "swap").symlink_to("next")
            os.replace(tmp_path / "swap", current)
            monkeypatch.undo()
            shutil.rmtree(folder)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", swap)
    asyncio.run(shelf.refresh())
    assert shelf.entries.keys() == {"art", "team/one"}
    assert take(shelf, "team/one").sha256 == make_artwork(9).sha256


def test_a_name_that_is_no_text_does_not_spoil_the_list(folder, caplog):
    os.link(folder / "art.png", os.fsencode(folder) + b"/caf\xe9.png")
    shelf = refreshed(folder)
    assert shelf.entries.keys() == {"art", "team/one"}
    assert [reason for _, reason in left_out(caplog)] == ["its name is not UTF-8"]


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
    assert "placement 'at the end' is unknown here" in refreshed(folder).entries["new"].error


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
