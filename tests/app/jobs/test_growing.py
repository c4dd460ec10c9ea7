import errno

import pytest

from app.jobs.errors import BackendUnavailableError, StorageFullError, UploadBusyError
from app.jobs.growing import GrowingFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "file"


def test_what_was_written_is_there_for_the_next_one(path):
    first = GrowingFile(path)
    first.append(b"01234")
    first.close()

    second = GrowingFile(path)
    second.cut(3)
    second.append(b"x")
    size = second.size
    second.close()

    assert (size, path.read_bytes()) == (4, b"012x")


def test_only_one_has_it_open(path):
    first = GrowingFile(path)

    with pytest.raises(UploadBusyError):
        GrowingFile(path)

    first.close()
    GrowingFile(path).close()


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFullError), (errno.EIO, BackendUnavailableError)],
    ids=["full", "broken"],
)
def test_a_disk_that_takes_no_more_is_told_by_what_it_lacks(path, monkeypatch, number, error):
    file = GrowingFile(path)

    class Disk:
        def write(self, _block):
            raise OSError(number, "no")

    with monkeypatch.context() as patch:
        patch.setattr(file, "_file", Disk())
        with pytest.raises(error) as raised:
            file.append(b"x")
    file.close()

    assert type(raised.value) is error
