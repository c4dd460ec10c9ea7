"""Every model of these tests, made at once: importing Keras takes seconds.

``python -m tests.app.jobs.intake.make_models FOLDER`` also writes what Keras itself finds in the
files: ``weights.json`` by loading each, ``exports.json`` by looking at its public modules.
"""

import inspect
import json
import sys
from pathlib import Path

import keras
import numpy as np

from pruning_core.config import PruningConfig
from pruning_core.decision import Prune, Skip
from pruning_core.selection import select

layers = keras.layers


def main(folder: Path) -> None:
    good = {
        "cnn": _cnn(),
        "two_inputs": _two_inputs(),
        "nested": _nested(),
        "recurrent": _recurrent(),
        "attention": _attention(),
        "convolutions": _convolutions(),
        "normalizations": _normalizations(),
        "frozen": _frozen(),
        "half": _half(),
    }
    for name, model in good.items():
        model.save(folder / f"{name}.keras")
        if name not in {"two_inputs", "half"}:
            model.save(folder / f"{name}.h5")
    good["cnn"].save(folder / "bare.h5", include_optimizer=False)
    good["cnn"].save_weights(folder / "cnn.weights.h5")
    files = [*folder.glob("*.keras"), *folder.glob("*[a-z].h5")]
    whole = [path for path in files if ".weights" not in path.name]
    (folder / "weights.json").write_text(json.dumps({path.name: _found(path) for path in whole}))
    (folder / "exports.json").write_text(json.dumps(_exports()))
    _save_refused(folder)


def _found(path: Path) -> list[list[object]]:
    model = keras.saving.load_model(path, compile=False)
    return [
        [
            entry.layer,
            entry.class_name,
            entry.weight,
            list(entry.variable.shape),
            getattr(entry.decision, "reason", None),
            _outputs(entry.decision),
        ]
        for entry in select(model, PruningConfig())
    ]


def _outputs(decision: Prune | Skip) -> list[int] | None:
    return list(decision.layout.outputs) if isinstance(decision, Prune) else None


def _exports() -> dict[str, dict[str, list[str]]]:
    modules = {
        "layers": keras.layers,
        "activations": keras.activations,
        "initializers": keras.initializers,
        "regularizers": keras.regularizers,
        "constraints": keras.constraints,
        "losses": keras.losses,
        "metrics": keras.metrics,
        "optimizers": keras.optimizers,
        "schedules": keras.optimizers.schedules,
        "dtype_policies": keras.dtype_policies,
        "src.ops.numpy": sys.modules["keras.src.ops.numpy"],
        "src.ops.nn": sys.modules["keras.src.ops.nn"],
        "src.ops.math": sys.modules["keras.src.ops.math"],
        "src.ops.core": sys.modules["keras.src.ops.core"],
    }
    return {
        name: {
            "classes": [key for key, thing in vars(module).items() if inspect.isclass(thing)],
            "functions": [key for key, thing in vars(module).items() if inspect.isfunction(thing)],
        }
        for name, module in modules.items()
    }


def _cnn() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.MaxPooling2D(),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax", name="dense"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.zeros((4, 8, 8, 1)), np.zeros(4), verbose=0)
    return model


def _two_inputs() -> keras.Model:
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = layers.Concatenate()([layers.Dense(5)(left), layers.Dense(5)(right)])
    output = layers.Activation("linear")(layers.Dense(1)(keras.ops.relu(joined * 2.0 + 1.0)))
    model = keras.Model([left, right], output)
    model.compile("sgd", keras.losses.MeanSquaredError(), metrics=[keras.metrics.R2Score()])
    return model


def _nested() -> keras.Model:
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(6, name="first"), layers.Dense(6, name="second")],
        name="inner",
    )
    start = keras.Input((8,))
    twice = layers.Dense(8, name="twice")
    return keras.Model(start, layers.Dense(2, name="last")(inner(twice(twice(start)))))


def _shared() -> keras.Model:
    dense = layers.Dense(4, name="dense")
    left = keras.Sequential([keras.Input((4,)), dense], name="left")
    right = keras.Sequential([keras.Input((4,)), dense, layers.Dense(4, name="own")], name="right")
    start = keras.Input((4,))
    return keras.Model(start, layers.Add()([left(start), right(start)]))


def _recurrent() -> keras.Model:
    backward = layers.LSTM(3, return_sequences=True, go_backwards=True, name="backwards")
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Embedding(50, 8),
            layers.LSTM(4, return_sequences=True),
            layers.Bidirectional(layers.GRU(3, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True), backward_layer=backward),
            layers.TimeDistributed(layers.Dense(5)),
            layers.SimpleRNN(3, return_sequences=True, use_bias=False),
            layers.RNN(layers.GRUCell(3), return_sequences=True),
            layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]),
            layers.Dense(2),
        ]
    )


def _attention() -> keras.Model:
    words = keras.Input((6, 4))
    x = layers.MultiHeadAttention(2, 3, use_gate=True)(words, words)
    x = layers.MultiHeadAttention(2, 3, output_shape=(2, 2))(x, words)
    x = layers.Reshape((6, 4))(x)
    x = layers.GroupQueryAttention(2, 2, 1, use_bias=False)(x, x)
    x = layers.Attention(use_scale=True, score_mode="concat")([x, words])
    x = layers.AdditiveAttention()([x, words])
    x = layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d")(x)
    return keras.Model(words, layers.EinsumDense("abc,cd->abd", (None, 5))(x))


def _convolutions() -> keras.Model:
    video = keras.Input((4, 6, 6, 2))
    x = layers.ConvLSTM2D(3, 3)(video)
    x = layers.SpectralNormalization(layers.Conv2D(2, 2))(x)
    x = layers.SeparableConv2D(4, 2)(x)
    x = layers.DepthwiseConv2D(2, use_bias=False)(x)
    x = layers.Conv2DTranspose(3, 2)(x)
    x = layers.PReLU()(x)
    x = layers.Reshape((4, 3))(x)
    x = layers.Conv1D(4, 2)(x)
    x = layers.Conv1DTranspose(2, 2)(x)
    return keras.Model(video, layers.GlobalAveragePooling1D()(x))


def _normalizations() -> keras.Model:
    adapted = layers.Normalization(name="adapted")
    adapted.adapt(np.random.default_rng(0).normal(size=(20, 4)))
    return keras.Sequential(
        [
            keras.Input((4,)),
            adapted,
            layers.Normalization(mean=0.5, variance=2.0, name="given"),
            layers.Dense(4, use_bias=False, kernel_regularizer="l2", kernel_constraint="max_norm"),
            layers.BatchNormalization(scale=False),
            layers.LayerNormalization(center=False),
            layers.GroupNormalization(2),
            layers.RMSNormalization(),
            layers.UnitNormalization(),
            layers.ReLU(max_value=6),
            layers.Dense(2),
        ]
    )


def _frozen() -> keras.Model:
    frozen = layers.Dense(4, name="frozen")
    attention = layers.MultiHeadAttention(1, 2, name="attention")
    start = keras.Input((3, 4))
    model = keras.Sequential([start, frozen, layers.Dense(4, name="free")], name="inner")
    frozen.trainable = False
    end = attention(model(start), model(start))
    attention.trainable = False
    return keras.Model(start, end, trainable=None)


def _half() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, dtype="bfloat16"),
            layers.Dense(3, dtype="mixed_float16"),
            layers.Dense(2, dtype="float16"),
        ]
    )


def _save_refused(folder: Path) -> None:
    @keras.saving.register_keras_serializable("mine")
    class Doubled(layers.Dense):
        pass

    def squared(labels, outputs):
        return keras.ops.mean((labels - outputs) ** 2)

    start = keras.Input((4,))
    keras.Sequential([start, layers.Lambda(lambda x: x, name="code"), layers.Dense(2)]).save(
        folder / "lambda.keras"
    )
    keras.Sequential([start, layers.Lambda(lambda x: x, name="code"), layers.Dense(2)]).save(
        folder / "lambda.h5"
    )
    keras.Sequential([start, Doubled(2, name="mine")]).save(folder / "custom.keras")
    keras.Sequential([start, Doubled(2, name="mine")]).save(folder / "custom.h5")
    keras.Sequential([start, layers.Dense(2, activation=squared)]).save(folder / "activation.h5")
    with_loss = keras.Sequential([start, layers.Dense(2)])
    with_loss.compile("adam", squared)
    with_loss.save(folder / "custom_loss.keras")
    with_loss.save(folder / "custom_loss.h5")
    quantized = keras.Sequential([start, layers.Dense(2)])
    quantized.quantize("int8")
    quantized.save(folder / "quantized.keras")
    keras.Sequential([start, layers.Flatten()]).save(folder / "weightless.keras")
    keras.Sequential([start, layers.Dense(2, name="größe")]).save(folder / "name.keras")
    _shared().save(folder / "shared.keras")
    words = keras.layers.TextVectorization(vocabulary=["a", "b"])
    text = keras.Input((1,), dtype="string")
    keras.Model(text, layers.Embedding(4, 2)(words(text))).save(folder / "text.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
