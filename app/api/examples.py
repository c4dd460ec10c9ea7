"""Bodies and examples for ``/openapi.json``; every example can be sent as it is."""

from __future__ import annotations

import json
from typing import Any

#: What ``spec`` can look like, from nothing to everything.
SPECS: dict[str, dict[str, Any]] = {
    "Every default": {},
    "90 % in two epochs": {
        "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.9},
        "training": {"epochs": 2},
    },
    "Half, at once": {"schedule": {"kind": "one_shot", "target_sparsity": 0.5}},
    "Level from the first step on": {"schedule": {"kind": "constant", "target_sparsity": 0.5}},
    "In rounds": {"schedule": {"kind": "iterative", "final_sparsity": 0.8, "rounds": 4}},
    "Convolutions less than the rest": {
        "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.8},
        "layers": [
            {"match": "conv*", "schedule": {"kind": "constant", "target_sparsity": 0.5}},
        ],
    },
    "The weakest weights, wherever they are": {
        "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.9},
        "allocation": {"kind": "global", "floor": 0.1},
    },
    "Two of every four input channels": {"granularity": {"kind": "n_of_m", "zeros": 2, "group": 4}},
    "Blocks of four rows, whole filters of convolutions": {
        "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.75},
        "granularity": {"kind": "block", "block_size": [4, 1], "pooling": "mean"},
        "allocation": {"kind": "erdos_renyi_kernel"},
        "layers": [
            {"type": "Conv2D", "granularity": {"kind": "channel"}},
            {"type": "DepthwiseConv2D", "skip": False},
        ],
    },
    "As TFMOT has it": {
        "pruning_schedule": {
            "class_name": "PolynomialDecay",
            "config": {
                "initial_sparsity": 0.5,
                "final_sparsity": 0.8,
                "begin_step": 0,
                "end_step": 12,
            },
        },
        "block_size": [4, 1],
        "block_pooling_type": "MAX",
    },
    "As it will be written out": {
        "schedule": {
            "kind": "polynomial_decay",
            "initial_sparsity": 0.0,
            "final_sparsity": 0.8,
            "begin_step": 0,
            "end_step": None,
            "frequency": None,
            "power": 3,
        },
        "granularity": {"kind": "unstructured"},
        "allocation": {"kind": "uniform"},
        "layers": [],
        "training": {
            "epochs": 2,
            "batch_size": 128,
            "optimizer": {"kind": "adam", "learning_rate": 0.001},
            "loss": None,
            "metrics": None,
            "validation_split": 0.1,
            "seed": 0,
        },
        "preprocessing": {"rescale": None, "offset": 0.0},
        "artifacts": ["keras"],
        "webhook": None,
        "retention_seconds": None,
        "priority": 0,
    },
}

_FILE = {"type": "string", "format": "binary"}


def file_body(part: str) -> dict[str, Any]:
    """Describe a form of one file."""
    schema = {"type": "object", "required": [part], "properties": {part: _FILE}}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


#: A form with the files, or JSON with the ids of files that were uploaded before.
ORDER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["model"],
                    "additionalProperties": False,
                    "properties": {
                        "model": {**_FILE, "description": "A `.keras` or `.h5` file"},
                        "data": {
                            **_FILE,
                            "description": "An `.npz`, a `.csv`, a `.zip` with a folder for each "
                            "class, or a `.tfrecord`; left out: prune without fine-tuning",
                        },
                        "spec": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "A `JobSpec` as JSON; left out: every default",
                            "examples": [json.dumps(spec) for spec in SPECS.values()],
                        },
                    },
                },
                "encoding": {"spec": {"contentType": "application/json"}},
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/JobRequest"}},
        },
    }
}
