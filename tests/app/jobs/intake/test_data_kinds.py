"""Data that are no arrays: what is found in good files, and what is refused, by code."""

import struct
import zipfile
import zlib

import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake import folders, table
from app.jobs.intake.dataset import summarise_dataset
from app.jobs.intake.image_size import image_size
from app.jobs.intake.records import _masked_checksum
from app.jobs.uploads import ColumnSummary

_COLOURS = {1: 0, 3: 2}


def _refusal(path):
    with pytest.raises(RefusedFileError) as caught:
        summarise_dataset(path)
    return caught.value


def _png(height=2, width=3, channels=3):
    """The smallest of PNGs: every byte of every pixel 7."""
    rows = (b"\0" + b"\7" * (width * channels)) * height
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _jpeg(height, width):
    """The beginning of one: a comment, and the header of the frame."""
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes(9)
    return (
        b"\xff\xd8\xff\xfe"
        + struct.pack(">H", 6)
        + b"note"
        + b"\xff\xff\xc2"
        + struct.pack(">H", 17)
        + frame
    )


@pytest.fixture
def written(tmp_path):
    """A function that writes bytes and returns the path."""

    def write(content):
        path = tmp_path / "data"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def packed(tmp_path):
    """A function that packs files by their names, and returns the path."""

    def pack(files, method=zipfile.ZIP_STORED):
        path = tmp_path / "data.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return pack


class TestTables:
    """A CSV file whose first row names the columns."""

    def test_its_columns_are_found_with_what_is_in_them(self, written):
        found = summarise_dataset(written('a,b,"the, label"\n1,-2.5,x\n3,4e1,"y, z"\n\n5,0,x\n'))

        assert (found.kind, found.train_samples) == ("csv", 3)
        assert found.columns == (
            ColumnSummary(name="a", kind="integer", lowest=1.0, highest=5.0),
            ColumnSummary(name="b", kind="float", lowest=-2.5, highest=40.0),
            ColumnSummary(name="the, label", kind="text", classes=("x", "y, z")),
        )

    def test_what_other_programs_write_is_read_alike(self, written):
        summarised = summarise_dataset(written("a,b\n1,2\n"))

        assert summarise_dataset(written("\ufeffa,b\r\n1,2\r\n")) == summarised
        assert summarise_dataset(written('"a", b\n"1","2"')) == summarised

    def test_names_may_be_places_as_pandas_writes_them(self, written):
        found = summarise_dataset(written("0,1,2\n5,6,7\n"))

        assert [column.name for column in found.columns] == ["0", "1", "2"]

    @pytest.mark.parametrize(
        ("text", "code", "words"),
        [
            pytest.param("a,b\n1,2\n3\n", "bad_row", "Row 3 must have 2 fields", id="ragged"),
            pytest.param('a,b\n1,2\n3,"4,5",6\n', "bad_row", "Received: 3", id="one too many"),
            pytest.param("a,b\n1,2\n1,\n", "bad_row", "column 'b'", id="an empty field"),
            pytest.param("a,b\n1,2\n1,two\n", "bad_row", "'two'", id="a word among numbers"),
            pytest.param("a,b\n1,2\n1,nan\n", "not_finite", "Row 3", id="NaN"),
            pytest.param("a,b\n1,1e999\n", "not_finite", "column 'b'", id="infinite"),
            pytest.param("1,2\n3,4\n", "bad_row", "Row 1 must name", id="no names"),
            pytest.param("a,a\n3,4\n", "bad_row", "of its own", id="a name twice"),
            pytest.param("a;b\n3;4\n", "bad_row", "commas", id="semicolons"),
            pytest.param("a,b\n", "no_samples", "no rows", id="no rows"),
            pytest.param("a,b\n1,\0\n", "bad_row", "zero byte", id="a zero byte"),
            pytest.param('a,b\n1,"2\n', "bad_row", "no CSV", id="a quote that is left open"),
            pytest.param(b"a,b\n1,\xff\n", "not_a_dataset", "UTF-8", id="another encoding"),
            pytest.param("a\n" + "1" * (2**20 + 1), "too_large", "row 2", id="an endless row"),
            pytest.param(",".join("abc" * 9000), "too_large", "columns", id="endless columns"),
            pytest.param(b"\x1f\x8b\x08\0", "not_a_dataset", "compressed", id="gzip"),
        ],
    )
    def test_what_cannot_be_trained_on_is_refused_where_it_stands(self, written, text, code, words):
        refusal = _refusal(written(text))

        assert refusal.code == code
        assert words in refusal.message

    def test_a_fault_is_found_in_whatever_block_it_stands(self, written, monkeypatch):
        monkeypatch.setattr(table, "_BLOCK_CHARACTERS", 20)
        rows = "".join(f"{number},1\n" for number in range(100))

        assert summarise_dataset(written("a,b\n" + rows)).train_samples == 100
        assert "Row 102" in _refusal(written("a,b\n" + rows + "nan,1\n")).message


class TestFolders:
    """A zip with a folder for each class."""

    def test_folders_are_classes_in_the_order_of_their_names(self, packed):
        files = {"dogs/b.PNG": _png(), "cats/a.png": _png(), "cats/": "", "notes.md": "?"}

        found = summarise_dataset(packed(files))

        assert (found.kind, found.classes, found.ignored) == (
            "images",
            ("cats", "dogs"),
            ("notes.md",),
        )
        assert [array.shape for array in found.arrays] == [(2, 2, 3, None), (2,)]

    def test_parts_are_known_by_their_names_and_the_outermost_folder_is_none(self, packed):
        files = {
            f"pets/{part}/{name}/1.jpg": _jpeg(4, 5)
            for part in ("train", "validation", "test")
            for name in ("cat", "dog")
        }

        found = summarise_dataset(packed(files | {"pets/train/cat/2.jpg": _jpeg(4, 6)}))

        counts = (found.train_samples, found.validation_samples, found.test_samples)
        assert counts == (3, 2, 2)
        assert found.arrays[0].shape == (3, 4, None, None)

    def test_texts_are_as_long_as_the_longest(self, packed):
        found = summarise_dataset(packed({"bad/1.txt": "öde", "good/1.txt": ""}))

        assert found.kind == "text"
        assert found.arrays[0].dtype == "S4"

    def test_what_a_mac_adds_is_passed_over(self, packed):
        files = {
            "a/1.png": _png(),
            "b/1.png": _png(),
            "__MACOSX/a/._1.png": "?",
            "a/.DS_Store": "?",
        }

        found = summarise_dataset(packed(files))

        assert (found.train_samples, found.ignored) == (2, ())

    @pytest.mark.parametrize(
        ("files", "code"),
        [
            pytest.param({"1.png": _png()}, "no_class_folders", id="no folder"),
            pytest.param({"a/1.png": b"GIF89a"}, "bad_image", id="no image"),
            pytest.param({"a/1.png": _png()[:20]}, "bad_image", id="the half of one"),
            pytest.param({"a/1.jpg": _jpeg(9000, 9000)}, "image_too_large", id="huge"),
            pytest.param({"a/1.png": _png(0, 3)}, "bad_image", id="no pixels"),
            pytest.param({"test/a/1.png": _png()}, "no_samples", id="nothing to train on"),
            pytest.param({"a/1.txt": b"\xff"}, "bad_text", id="no UTF-8"),
            pytest.param({"a/1.txt": b"a\0"}, "bad_text", id="a zero byte"),
            pytest.param({"a/1.txt": b"a" * 2**19}, "bad_text", id="a book"),
            pytest.param({"../a/1.png": _png()}, "unsafe_archive", id="a way out"),
            pytest.param({"/a/1.png": _png()}, "unsafe_archive", id="the root"),
            pytest.param({"a/../../1.png": _png()}, "unsafe_archive", id="a way out inside"),
        ],
    )
    def test_what_is_no_folder_of_samples_is_refused(self, packed, files, code):
        assert _refusal(packed(files)).code == code

    def test_a_link_is_refused(self, tmp_path):
        path = tmp_path / "data.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/1.png", _png())
            link = zipfile.ZipInfo("a/2.png")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")

        assert _refusal(path).code == "unsafe_archive"

    def test_a_bomb_is_refused_before_it_is_unpacked(self, packed):
        bomb = packed({"a/1.png": bytes(2**27)}, zipfile.ZIP_DEFLATED)

        assert _refusal(bomb).code == "too_large"

    def test_arrays_in_a_zip_are_arrays_whatever_else_is_there(self, packed):
        assert folders.kind_of(["x_train.npy", "a/1.png"]) == "npz"
        assert _refusal(packed({"x_train.npy": b"", "a/1.png": b""})).code in {
            "damaged",
            "missing_array",
        }


@pytest.mark.parametrize("pad", [0, 1, 70_000])
def test_the_size_of_a_jpeg_is_found_behind_its_metadata(pad):
    segments = b"".join(
        b"\xff\xe1"
        + struct.pack(">H", min(pad - start, 60_000) + 2)
        + bytes(min(pad - start, 60_000))
        for start in range(0, pad, 60_000)
    )

    assert image_size(b"\xff\xd8" + segments + _jpeg(11, 13)[2:]) == (11, 13)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"BM", b"\x89PNG\r\n\x1a\n", b"GIF89a"]
)
def test_what_ends_too_early_has_no_size(content):
    assert image_size(content) is None


def _varint(number):
    number %= 2**64
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*content, number])


def _message(field, content):
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _feature(value):
    match value:
        case bytes():
            return _message(1, _message(1, value))
        case [float(), *_]:
            return _message(2, _message(1, struct.pack(f"<{len(value)}f", *value)))
        case [*numbers]:
            return _message(3, _message(1, b"".join(map(_varint, numbers))))


def _record(**features):
    entries = (
        _message(1, name.encode()) + _message(2, _feature(value))
        for name, value in features.items()
    )
    return _framed(_message(1, b"".join(_message(1, entry) for entry in entries)))


def _framed(content):
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", _masked_checksum(length)) + content + bytes(4)


class TestRecords:
    """TFRecord; ``tests/worker/test_data_kinds.py`` has files that TensorFlow wrote."""

    def test_their_features_are_found_without_being_told(self, written):
        found = summarise_dataset(
            written(
                _record(x=[0.5, -1.5], label=[3], picture=_png(4, 5), extra=b"1")
                + _record(x=[2.5, 0.0], label=[-300], picture=_png(4, 6), extra=b"")
            )
        )

        assert (found.kind, found.train_samples) == ("tfrecord", 2)
        assert found.columns == (
            ColumnSummary(name="x", kind="float", width=2, lowest=-1.5, highest=2.5),
            ColumnSummary(name="label", kind="integer", width=1, lowest=-300.0, highest=3.0),
            ColumnSummary(name="picture", kind="bytes", width=1, image=(4, None)),
            ColumnSummary(name="extra", kind="bytes", width=1),
        )

    def test_a_feature_that_some_lack_or_have_more_of_has_no_width(self, written):
        found = summarise_dataset(written(_record(a=[1], b=[1]) + _record(a=[1, 2])))

        assert [column.width for column in found.columns] == [None, None]

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            pytest.param(_record(a=[1]) + b"more", "bad_record", id="something behind"),
            pytest.param(_record(a=[1])[:-6], "truncated", id="cut"),
            pytest.param(_framed(b"\x0a\xff"), "bad_record", id="no example"),
            pytest.param(_framed(b"\x0a" + b"\xff" * 12), "bad_record", id="an endless number"),
            pytest.param(_record(a=[1]) + _record(a=[1.0]), "bad_record", id="two kinds"),
            pytest.param(_record(a=[float("nan")]), "not_finite", id="NaN"),
            pytest.param(_record(a=_jpeg(9000, 9000)), "image_too_large", id="a huge image"),
        ],
    )
    def test_what_is_no_record_is_refused(self, written, content, code):
        assert _refusal(written(content)).code == code

    def test_a_record_beyond_any_use_is_refused_before_it_is_read(self, written):
        length = struct.pack("<Q", 2**40)

        refusal = _refusal(written(length + struct.pack("<I", _masked_checksum(length))))

        assert refusal.code == "too_large"
