"""Data that hold code, lie about themselves, or fit nothing."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.hostile.case import Case, Expected
from bench.hostile.edits import members, npy, npz, packed
from bench.hostile.originals import Originals, arrays
from bench.hostile.planted import Planted

_FIRST = "x_train.npy"


def cases(originals: Originals, planted: Planted) -> Iterator[Case]:
    """Yield data for the valid model; the last ones are as good as the original."""
    contents = {
        **_no_data(originals),
        **{f"arrays: {name}": _changed(**new) for name, new in _arrays(planted).items()},
        **_absent(),
        **_headers(originals),
        **_archives(originals, planted),
    }
    for name, content in contents.items():
        yield Case(name=f"data: {name}", data=content)
    for name, content in _valid().items():
        yield Case(name=f"data: {name}", data=content, expected=Expected.SUCCESS)


def _no_data(originals: Originals) -> dict[str, bytes]:
    return {
        "nothing": b"",
        "text": b"1,2,3\n4,5\n",
        "a model": originals.keras,
        "one array": npy(np.ones((64, 8))),
        "an HDF5 file": originals.h5,
        "cut": originals.npz[: len(originals.npz) // 2],
    }


def _arrays(planted: Planted) -> dict[str, dict[str, NDArray[Any]]]:
    original = arrays()
    x, y = original["x_train"], original["y_train"]
    pickled = np.array([planted.pickled("object array")] * 64, object)
    return {
        "objects that run code": {"x_train": pickled},
        "labels that run code": {"y_train": pickled},
        "NaN": {"x_train": np.where(x > 0.5, np.nan, x)},  # noqa: PLR2004
        "infinite": {"x_test": np.full_like(x, np.inf)},
        "complex": {"x_train": x.astype(complex)},
        "text": {"y_train": y.astype("U8")},
        "bytes": {"y_train": y.astype("S8")},
        "dates": {"y_train": y.astype("datetime64[s]")},
        "records": {"y_train": np.zeros(64, [("a", "i4"), ("b", "f4")])},
        "wide floats": {"x_train": x.astype(np.longdouble)},
        "one sample too few": {"y_train": y[:-1]},
        "no samples": {"x_train": x[:0], "y_train": y[:0]},
        "a single number": {"x_train": np.array(1.0, "float32")},
        "seven features": {"x_train": x[:, :7], "x_test": x[:, :7]},
        "another test": {"x_test": x[:, :7]},
        "a rank too many": {"x_train": x[:, :, None, None], "x_test": x[:, :, None, None]},
        "rank 20": {"x_train": x.reshape((64, 8) + (1,) * 18)},
        "labels beyond the classes": {"y_train": y + 1_000_000},
        "labels below zero": {"y_train": y - 5},
        "labels of another shape": {"y_train": np.zeros((64, 4, 4))},
        "two ways to say x": {"x": x, "y": y},
        "an input that is not there": {"x_train/nowhere": x},
    }


def _changed(**changed: NDArray[Any]) -> bytes:
    return npz(**{**arrays(), **changed})


def _absent() -> dict[str, bytes]:
    original = arrays()
    return {
        "only labels": npz(y_train=original["y_train"]),
        "only a test": npz(x_test=original["x_test"], y_test=original["y_test"]),
        "a test without labels": npz(
            **{name: array for name, array in original.items() if name != "y_test"}
        ),
        "names that mean nothing": npz(images=original["x_train"], labels=original["y_train"]),
    }


def _headers(originals: Originals) -> dict[str, bytes]:
    """Return arrays whose header says what is not so."""
    bad = {
        "more than there is": "{'descr': '<f4', 'fortran_order': False, 'shape': (64000, 8), }",
        "less than there is": "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 8), }",
        "terabytes": "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 8), }",
        "below zero": "{'descr': '<f4', 'fortran_order': False, 'shape': (-64, -8), }",
        "code": "__import__('os').abort()",
        "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (64, 8), }",
        "nothing": "{}",
        "a key twice": "{'descr': '<f4', 'descr': '|O', 'fortran_order': 0, 'shape': (64, 8), }",
        "a million brackets": "[" * 60_000,
        "no Python": "{'descr': ",
        "a type of types": "{'descr': [('a', '<f4', (99999999,))], 'fortran_order': False, "
        "'shape': (64,), }",
        "a shape of truths": "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 512), }",
    }
    whole = members(originals.npz)
    body = whole[_FIRST].partition(b"\n")[2]
    return {
        **{
            f"a header of {name}": packed({**whole, _FIRST: _with_header(header) + body})
            for name, header in bad.items()
        },
        "version 9": packed({**whole, _FIRST: b"\x93NUMPY\x09\x00" + whole[_FIRST][8:]}),
        "no NumPy at all": packed({**whole, _FIRST: b"once upon a time"}),
        "an empty member": packed({**whole, _FIRST: b""}),
    }


def _with_header(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _archives(originals: Originals, planted: Planted) -> dict[str, bytes]:
    whole = members(originals.npz)
    zeros = npy(np.zeros((75 * 2**18, 8), np.float32))
    return {
        "a way out": packed({**whole, "../../escaped.npy": whole[_FIRST]}),
        "an absolute path": packed({**whole, planted.marker("array"): whole[_FIRST]}),
        "a bomb": packed({**whole, _FIRST: zeros}, zipfile.ZIP_DEFLATED),
        "20,000 arrays": packed({**whole, **{f"a{n}.npy": b"" for n in range(20_000)}}),
        "a picture in front": b"\x89PNG\r\n\x1a\n" + originals.npz,
    }


def _valid() -> dict[str, bytes]:
    original = arrays()
    return {
        "another order in memory": _changed(x_train=np.asfortranarray(original["x_train"])),
        "bytes for features": _changed(
            x_train=(original["x_train"] * 255).astype("u1"),
            x_test=(original["x_test"] * 255).astype("u1"),
        ),
        "without labels": npz(x_train=original["x_train"], x_test=original["x_test"]),
        "with an array too many": _changed(notes=np.ones(3)),
    }
