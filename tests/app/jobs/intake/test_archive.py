import struct
import zipfile
from pathlib import Path

import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake.archive import open_archive


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive.zip"


def _write(path, *names, content=b"content", method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, content)


def _refusal(path):
    with pytest.raises(RefusedFileError) as caught:
        _read_all(path)
    return caught.value


def _read_all(path):
    with open_archive(path) as archive:
        for name in archive.names:
            archive.read(name, max_bytes=2**20)


def _change_all(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new))


def test_gives_what_was_put_in(path, tmp_path):
    _write(path, "a", "folder/b", content=b"some content")

    with open_archive(path) as archive, (tmp_path / "copy").open("wb") as copy:
        assert archive.names == ("a", "folder/b")
        assert archive.bytes_of("a") == 12
        assert archive.read("a", max_bytes=12) == b"some content"
        archive.copy("folder/b", copy)

    assert (tmp_path / "copy").read_bytes() == b"some content"


def test_a_member_larger_than_asked_for_is_not_read(path):
    _write(path, "a", content=bytes(2**20 + 1))

    assert _refusal(path).code == "too_large"


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a", "a/../b", "a//b", "a/", "./a", "C:/a", "a\\b", "new\nline"],
)
def test_a_name_that_leaves_the_archives_folder_is_refused(path, name):
    _write(path, name)

    assert _refusal(path).code == "unsafe_archive"


def test_a_name_that_ends_in_a_hidden_part_is_refused(path):
    _write(path, "config.json_hidden")
    _change_all(path, b"config.json_hidden", b"config.json\0hidden")

    assert _refusal(path).code == "unsafe_archive"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(path):
    _write(path, "config.json", "config.json")

    assert "two members of the same name" in _refusal(path).message


def test_a_name_that_the_directory_gives_otherwise_is_refused(path):
    _write(path, "config.json")
    path.write_bytes(path.read_bytes().replace(b"config.json", b"confix.json", 1))

    assert "names a member in two ways" in _refusal(path).message


def test_something_in_front_of_the_archive_is_refused(path):
    _write(path, "a")
    path.write_bytes(b"PK\x03\x04 a picture" + path.read_bytes())

    assert "hides bytes" in _refusal(path).message


def test_members_that_overlap_are_refused(path):
    _write(path, "a", "b")
    content = bytearray(path.read_bytes())
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", 10)
    path.write_bytes(content)

    assert "hides bytes" in _refusal(path).message


def test_a_member_that_reaches_into_the_directory_is_refused(path):
    _write(path, "a")
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 500, 500)
    path.write_bytes(content)

    assert "hides bytes" in _refusal(path).message


def test_a_link_is_refused(path):
    link = zipfile.ZipInfo("a")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")

    assert "a link" in _refusal(path).message


def test_an_encrypted_member_is_refused(path):
    _write(path, "a")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)

    assert "encrypted" in _refusal(path).message


def test_an_unknown_method_is_refused(path):
    _write(path, "a")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 10] = 97
    path.write_bytes(content)

    assert "unknown method" in _refusal(path).message


def test_a_bomb_is_refused_before_it_is_unpacked(path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("bomb", "w", force_zip64=True) as member,
    ):
        for _ in range(100):
            member.write(bytes(2**20))

    refusal = _refusal(path)

    assert refusal.code == "too_large"
    assert "bomb unpacks to more than 200 times" in refusal.message


def test_members_without_number_are_refused(path):
    _write(path, *(str(number) for number in range(10_001)), content=b"")

    assert "10001 members" in _refusal(path).message


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_content_that_changed_on_its_way_is_refused(path, method):
    _write(path, "a", content=b"content" * 1000, method=method)
    content = bytearray(path.read_bytes())
    content[60] ^= 0x10
    path.write_bytes(content)

    assert _refusal(path).code == "damaged"


def test_an_archive_without_its_end_is_truncated(path):
    _write(path, "a", content=bytes(1000))
    path.write_bytes(path.read_bytes()[:-30])

    assert _refusal(path).code == "truncated"


def test_what_takes_no_more_is_not_taken_for_a_damaged_archive(path):
    _write(path, "member", content=bytes(100_000))

    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        open_archive(path) as archive,
        pytest.raises(OSError, match="No space left"),
    ):
        archive.copy("member", full)
