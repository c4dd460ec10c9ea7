"""Specs that ask for what cannot be, or for what is no pruning at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bench.hostile.case import Case

_BIG = 10**30


def cases() -> Iterator[Case]:
    """Yield orders on the valid files."""
    for name, text in _texts().items():
        yield Case(name=f"spec: {name}", spec=text)
    for name, spec in {**_schedules(), **_pruning(), **_training(), **_others()}.items():
        yield Case(name=f"spec: {name}", spec=json.dumps(spec))


def _texts() -> dict[str, str]:
    return {
        "nothing": "",
        "cut": '{"training": {',
        "a list": "[]",
        "text": '"prune it"',
        "NaN": '{"preprocessing": {"offset": NaN}}',
        "beyond any float": '{"preprocessing": {"offset": 1e999}}',
        "5,000 digits": '{"training": {"seed": ' + "9" * 5000 + "}}",
        "1,000 deep": '{"layers": ' + "[" * 1000 + "]" * 1000 + "}",
        "one key twice": '{"training": {"epochs": 1, "epochs": 2}}',
        "half a character": '{"layers": [{"match": "\\ud800", "skip": true}]}',
        "a megabyte": '{"layers": "' + "a" * 2**20 + '"}',
    }


def _schedules() -> dict[str, dict[str, Any]]:
    def schedule(kind: str, **settings: object) -> dict[str, Any]:
        return {"schedule": {"kind": kind, **settings}}

    def tfmot(name: object, **config: object) -> dict[str, Any]:
        return {"schedule": {"class_name": name, "config": config}}

    return {
        "a percentage": schedule("constant", target_sparsity=50),
        "everything": schedule("constant", target_sparsity=1.0),
        "less than nothing": schedule("constant", target_sparsity=-0.1),
        "a number in words": schedule("constant", target_sparsity="0.5"),
        "no such schedule": schedule("quadratic"),
        "no kind": {"schedule": {}},
        "no schedule": {"schedule": None},
        "ends before it begins": schedule("polynomial_decay", begin_step=2, end_step=1),
        "ends after the training": schedule("polynomial_decay", end_step=10**6),
        "a step beyond counting": schedule("polynomial_decay", end_step=_BIG),
        "never": schedule("polynomial_decay", frequency=0),
        "a power of nothing": schedule("polynomial_decay", power=-1),
        "a million rounds": schedule("iterative", rounds=10**6),
        "falls": schedule("polynomial_decay", initial_sparsity=0.9, final_sparsity=0.1),
        "a class of another": tfmot("os.system", command="id"),
        "a class of none": tfmot(None),
        "a list for a class": tfmot(["PolynomialDecay"]),
        "settings of another class": tfmot("ConstantSparsity", target_sparsity=0.5, evil=1),
    }


def _pruning() -> dict[str, dict[str, Any]]:
    def granularity(kind: str, **settings: object) -> dict[str, Any]:
        return {"granularity": {"kind": kind, **settings}}

    return {
        "blocks of nothing": granularity("block", block_size=[0, 1]),
        "blocks below zero": granularity("block", block_size=[-4, 1]),
        "a block of three axes": granularity("block", block_size=[4, 1, 1]),
        "no such pooling": granularity("block", block_size=[4, 1], pooling="exec"),
        "more zeros than weights": granularity("n_of_m", zeros=5, group=4),
        "groups of nothing": granularity("n_of_m", zeros=0, group=0),
        "no such granularity": granularity("quantum"),
        "no such allocation": {"allocation": {"kind": "favourites"}},
        "a layer that is not there": {"layers": [{"match": "nowhere", "skip": True}]},
        "a path for a layer": {"layers": [{"match": "../../etc/passwd", "skip": True}]},
        "a name that is a number": {"layers": [{"match": 7, "skip": True}]},
        "nothing left to prune": {"layers": [{"match": "*", "skip": True}]},
    }


def _training() -> dict[str, dict[str, Any]]:
    settings: dict[str, dict[str, Any]] = {
        "no epochs": {"epochs": 0},
        "epochs without end": {"epochs": 10**12},
        "half an epoch": {"epochs": 0.5},
        "a truth for epochs": {"epochs": True},
        "no batch": {"batch_size": 0},
        "a batch of everything": {"batch_size": 10**12},
        "no such optimizer": {"optimizer": {"kind": "os.system"}},
        "learning backwards": {"optimizer": {"kind": "adam", "learning_rate": -1}},
        "a learning rate of nothing": {"optimizer": {"kind": "adam", "learning_rate": 0}},
        "momentum of one": {"optimizer": {"kind": "sgd", "momentum": 1.0}},
        "no such loss": {"loss": "__import__"},
        "a loss with code": {"loss": {"class_name": "Lambda", "config": {}}},
        "no such metric": {"metrics": ["exec"]},
        "everything held out": {"validation_split": 1.0},
        "less than nothing held out": {"validation_split": -0.5},
        "a seed beyond counting": {"seed": _BIG},
        "a seed below zero": {"seed": -1},
        "a temperature of nothing": {"distillation": {"temperature": 0}},
        "a setting of nobody": {"callbacks": ["os.system"]},
    }
    return {f"training, {name}": {"training": each} for name, each in settings.items()}


def _others() -> dict[str, dict[str, Any]]:
    webhooks = (
        "file:///etc/passwd",
        "http://127.0.0.1:6379/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "gopher://example.org/",
        "http://user:password@example.org/",
        "not a url",
        "http://" + "a" * 5000 + ".example",
    )
    return {
        **{f"a webhook to {url:.40}": {"webhook": {"url": url}} for url in webhooks},
        "a program for an artifact": {"artifacts": ["exe"]},
        "no artifact": {"artifacts": []},
        "one artifact twice": {"artifacts": ["keras", "keras"]},
        "kept for ever and a day": {"retention_seconds": _BIG},
        "kept for less than nothing": {"retention_seconds": -1},
        "a scale in words": {"preprocessing": {"rescale": "1/255"}},
        "a field of nobody": {"__class__": {"__init__": {}}},
        "a path": {"model_path": "/etc/passwd"},
    }
