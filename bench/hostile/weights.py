"""Stored weights that lie, link, or do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

from bench.hostile.case import Case
from bench.hostile.edits import with_h5, with_weights
from bench.hostile.originals import Originals
from bench.hostile.planted import Planted

_KERNEL, _BIAS = "layers/dense/vars/0", "layers/dense/vars/1"
_TERABYTES = 2**42
#: Of the secret and its line's end.
_SECRET_BYTES = 49

_Change = Callable[[h5py.File], object]


def cases(originals: Originals, planted: Planted) -> Iterator[Case]:
    """Yield models whose architecture is fine, in both formats."""
    for name, change in _changes(_KERNEL, _BIAS, planted).items():
        yield Case(name=f"weights: {name}", model=with_weights(originals.keras, change))
    kernel, bias = "model_weights/hidden/hidden/kernel", "model_weights/hidden/hidden/bias"
    for name, change in (*_changes(kernel, bias, planted).items(), *_lists().items()):
        yield Case(name=f"h5 weights: {name}", model=with_h5(originals.h5, change))


def _changes(kernel: str, bias: str, planted: Planted) -> dict[str, _Change]:
    secret, environment = str(planted.secret_file), "/proc/self/environ"
    shape = (8, 16)
    return {
        "NaN": lambda file: _filled(file[kernel], np.nan),
        "infinite": lambda file: _filled(file[kernel], -np.inf),
        "complex": lambda file: _replaced(file, kernel, np.ones(shape, complex)),
        "text": lambda file: _replaced(file, bias, np.full(16, b"text")),
        "objects": lambda file: _replaced(file, bias, "text"),
        "other sizes": lambda file: _replaced(file, kernel, np.ones((8, 17), "float32")),
        "another rank": lambda file: _replaced(file, kernel, np.ones(128, "float32")),
        "turned around": lambda file: _replaced(file, kernel, np.ones((16, 8), "float32")),
        "no numbers at all": lambda file: _replaced(file, kernel, np.ones((0, 16), "float32")),
        "one too few": lambda file: file.__delitem__(bias),
        "the secret as storage": lambda file: _external(file, bias, secret, _SECRET_BYTES),
        "the environment as storage": lambda file: _external(file, bias, environment, 16),
        "a link to a file": lambda file: _linked(file, bias, h5py.ExternalLink(secret, "/")),
        "a link": lambda file: _linked(file, bias, h5py.SoftLink("/" + kernel)),
        "one array twice": lambda file: _linked(file, bias, file[kernel]),
        "a view of nothing": lambda file: _virtual(file, bias, secret),
        "a circle": lambda file: _linked(file, bias, file["/"]),
        "a filter": lambda file: _declared(file, bias, (16,), chunks=(16,), scaleoffset=2),
        "terabytes": lambda file: _declared(file, kernel, (_TERABYTES,), chunks=(2**20,)),
        "gigabytes of zeros": lambda file: _declared(
            file, kernel, (2**20, 2**10), chunks=(2**10, 2**10), compression="gzip"
        ),
        "one huge chunk": lambda file: _declared(
            file, bias, (16,), chunks=(2**29,), maxshape=(None,), compression="gzip"
        ),
        "100 groups deep": lambda file: file.create_group("/".join("a" * 100)),
    }


def _lists() -> dict[str, _Change]:
    """Return changes of what only the older format has."""
    hidden = "model_weights/hidden"
    return {
        "names of nothing": lambda file: _named(file[hidden], [b"a", b"b"]),
        "a name too few": lambda file: _named(file[hidden], [b"hidden/kernel"]),
        "a name that climbs": lambda file: _named(file[hidden], [b"../x", b"/etc/passwd"]),
        "one weight for two": lambda file: _named(file[hidden], [b"hidden/kernel"] * 2),
    }


def _filled(dataset: h5py.Dataset, value: float) -> None:
    dataset[...] = value


def _replaced(file: h5py.File, path: str, value: Any) -> None:
    del file[path]
    file[path] = value


def _linked(file: h5py.File, path: str, link: Any) -> None:
    _replaced(file, path, link)


def _external(file: h5py.File, path: str, target: str, size: int) -> None:
    del file[path]
    file.create_dataset(path, (size,), "u1", external=[(target, 0, h5py.h5f.UNLIMITED)])


def _virtual(file: h5py.File, path: str, target: str) -> None:
    del file[path]
    layout = h5py.VirtualLayout((16,), "f4")
    layout[:] = h5py.VirtualSource(target, "a", (16,))
    file.create_virtual_dataset(path, layout)


def _declared(file: h5py.File, path: str, shape: tuple[int, ...], **storage: Any) -> None:
    del file[path]
    kind = "i4" if "scaleoffset" in storage else "f4"
    file.create_dataset(path, shape, kind, **storage)


def _named(group: h5py.Group, names: list[bytes]) -> None:
    group.attrs["weight_names"] = names
