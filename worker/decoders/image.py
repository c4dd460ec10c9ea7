"""One encoded image as an array, in the way of ``keras.utils.image_dataset_from_directory``."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
import tensorflow as tf

from app.jobs.reading import Field
from worker.data import Array
from worker.errors import RefusedError


def decode_image(content: bytes, field: Field, *, name: str) -> Array:
    """Return the image with the height, width and channels of ``field``, values from 0 to 255.

    Where it has another size it is scaled, bilinearly, and becomes floats.

    Raises:
        RefusedError: it cannot be decoded.
    """
    height, width, channels = field.shape
    try:
        image = tf.io.decode_image(content, channels=channels, expand_animations=False)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        raise RefusedError(
            "image_unreadable",
            f"{name} cannot be decoded as an image of {channels} channels.",
            hint="Convert it to PNG or JPEG, or leave it out, and upload the data again.",
        ) from error
    if tuple(image.shape[:2]) != (height, width):
        image = tf.image.resize(image, (height, width))
    return np.asarray(image).astype(field.dtype)
