import h5py
import numpy as np
import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake import hdf5
from app.jobs.intake.hdf5 import Tensor, read_contents


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.h5"


def _read(path):
    return read_contents(path, must_be_finite=lambda name: not name.startswith("free"))


def _refusal(path, write, **options):
    with h5py.File(path, "w", **options) as file:
        write(file)
    with pytest.raises(RefusedFileError) as caught:
        _read(path)
    return caught.value


def test_gives_tensors_and_texts_by_their_path(path):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file.attrs["comment"] = "not of interest"
        file["a/b"] = np.ones((2, 3), np.float32)
        file["a"].attrs["weight_names"] = [b"one", b"two"]
        file["a"].attrs["name"] = np.bytes_(b"layer")

    contents = _read(path)

    assert contents.tensors == {"a/b": Tensor((2, 3), "float32", 24)}
    assert contents.attributes[""] == {"model_config": "{}"}
    assert contents.text("a", "name") == "layer"
    assert contents.texts("a", "weight_names") == ("one", "two")
    assert contents.text("a", "weight_names") is None
    assert contents.texts("absent", "weight_names") == ()


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_takes_the_filters_that_can_be_trusted(path, compression):
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "a", data=np.ones((50, 50)), compression=compression, shuffle=True, fletcher32=True
        )

    assert _read(path).tensors["a"].shape == (50, 50)


@pytest.mark.parametrize(
    ("write", "fault"),
    [
        pytest.param(
            lambda file: file.__setitem__("a", h5py.SoftLink("/b")), "is a link", id="soft"
        ),
        pytest.param(
            lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/")),
            "is a link",
            id="external link",
        ),
        pytest.param(
            lambda file: file.create_dataset(
                "a", (4,), "u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
            ),
            "outside the file",
            id="external storage",
        ),
        pytest.param(
            lambda file: file.create_virtual_dataset("a", h5py.VirtualLayout((4,), "f4")),
            "outside the file",
            id="virtual",
        ),
        pytest.param(
            lambda file: file.create_dataset("a", data=np.arange(50), scaleoffset=0),
            "a filter other than",
            id="filter",
        ),
        pytest.param(
            lambda file: file.create_dataset("a", data=["text"]), "holds object", id="text"
        ),
        pytest.param(
            lambda file: file.create_dataset("a", data=np.ones(2, complex)),
            "holds complex128",
            id="complex",
        ),
        pytest.param(
            lambda file: file.create_dataset("a", data=h5py.Empty("f4")), "no ordinary", id="empty"
        ),
        pytest.param(
            lambda file: file.__setitem__("a", np.dtype("f4")), "neither a group", id="a type"
        ),
        pytest.param(
            lambda file: file.create_group("a").__setitem__("b", file["/"]),
            "two places",
            id="a circle",
        ),
        pytest.param(
            lambda file: (file.__setitem__("a", [1.0]), file.__setitem__("b", file["a"])),
            "two places",
            id="one array twice",
        ),
    ],
)
def test_storage_that_keras_never_uses_is_refused(path, write, fault):
    refusal = _refusal(path, write)

    assert refusal.code == "unsafe_storage"
    assert fault in refusal.message


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(
            lambda file: file.create_dataset("a", (2**20, 2**10), "f4", chunks=True),
            id="declared, not stored",
        ),
        pytest.param(
            lambda file: file.create_dataset(
                "a", (4,), "f4", chunks=(2**29,), maxshape=(None,), compression="gzip"
            ),
            id="one huge chunk",
        ),
        pytest.param(lambda file: file.create_group("/".join("a" * 70)), id="depth"),
        pytest.param(
            lambda file: file.create_dataset("a", (2**33,), "f8", chunks=(2**20,)),
            id="terabytes",
        ),
    ],
)
def test_a_bomb_is_refused_by_what_it_declares(path, write):
    assert _refusal(path, write).code == "too_large"


def test_a_list_of_texts_is_bounded(path):
    def write(file):
        file.attrs.create("layer_names", np.full(100_001, b"a"))

    assert _refusal(path, write, libver="latest").code == "too_large"


@pytest.mark.parametrize(
    "shape", [(), (0, 4), (7,), (5, 3), (2, 3, 4)], ids=["scalar", "none", "row", "table", "box"]
)
def test_a_value_that_is_not_finite_is_found_wherever_it_stands(path, monkeypatch, shape):
    monkeypatch.setattr(hdf5, "_BLOCK_ITEMS", 4)
    for place in np.ndindex(shape):
        values = np.zeros(shape, np.float32)
        values[place] = np.nan

        assert _refusal(path, lambda file, v=values: file.create_dataset("a", data=v)).code == (
            "not_finite"
        )


def test_values_that_need_not_be_finite_are_not_read(path):
    with h5py.File(path, "w") as file:
        file["free"] = [np.nan]

    assert _read(path).tensors["free"].shape == (1,)


def test_structures_that_contradict_themselves_are_refused(path):
    with h5py.File(path, "w") as file:
        file["a"] = np.ones(1000)
    content = bytearray(path.read_bytes())
    content[100:700] = b"\xff" * 600
    path.write_bytes(content)

    with pytest.raises(RefusedFileError) as caught:
        _read(path)

    assert caught.value.code == "damaged"
