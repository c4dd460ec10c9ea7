"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from app.jobs.formats import FILE_NAMES

DEFAULT_URL = "http://127.0.0.1:8000"

JobId: TypeAlias = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]
ModelFile: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A .keras or .h5 file.", exists=True, dir_okay=False, readable=True
    ),
]
DataFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="What the model is fine-tuned on: an .npz with x_train, y_train and, if you have "
        "them, x_test, y_test; a .csv; a .zip with a folder of images or texts for each class; a "
        ".tfrecord. Left out: pruned at once, without fine-tuning.",
        exists=True,
        dir_okay=False,
        readable=True,
    ),
]
Sparsity: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Fraction of the weights that goes, 0.9 for example.", show_default="0.8"),
]
Epochs: TypeAlias = Annotated[
    int | None, typer.Option(help="Passes over the data.", show_default="2")
]
Granularity: TypeAlias = Annotated[
    Literal["unstructured", "block", "n_of_m", "channel"] | None,
    typer.Option(
        help="What goes together: single weights, blocks of 4 inputs, 2 of every 4, or whole "
        "filters.",
        show_default="unstructured",
    ),
]
Formats: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        help=f"A file to make, again for each: {', '.join(FILE_NAMES)}.",
        show_default="keras",
    ),
]
Spec: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The whole spec as JSON, see docs/api.md: a file, - for standard input, or the text "
        "itself. What the options above say goes before what it says."
    ),
]
Out: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Folder for the files.", file_okay=False),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON, as the API gives it, and nothing else.")
]
Url: TypeAlias = Annotated[str, typer.Option(envvar="ESPALIER_URL", help="Where the service is.")]
ApiKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="ESPALIER_API_KEY",
        help="Where the service asks for one. Others on this machine can read the command line, "
        "but not the environment.",
    ),
]
DataDir: TypeAlias = Annotated[Path | None, typer.Option(help="Folder that keeps everything.")]
