import pytest

from pruning_core.catalogue import Layout, is_known, layout, reason_to_skip


@pytest.mark.parametrize(
    ("class_name", "weight_name"),
    [
        ("Dense", "kernel"),
        ("EinsumDense", "kernel"),
        ("Conv1D", "kernel"),
        ("Conv2D", "kernel"),
        ("Conv3D", "kernel"),
        ("Conv2DTranspose", "kernel"),
        ("SeparableConv2D", "pointwise_kernel"),
        ("Embedding", "embeddings"),
        ("LSTM", "kernel"),
        ("LSTM", "recurrent_kernel"),
        ("GRU", "recurrent_kernel"),
        ("SimpleRNN", "kernel"),
        ("ConvLSTM2D", "recurrent_kernel"),
        ("LSTMCell", "recurrent_kernel"),
    ],
)
def test_is_pruned_by_default(class_name, weight_name):
    assert reason_to_skip(class_name, weight_name) is None
    assert is_known(class_name)


@pytest.mark.parametrize(
    ("class_name", "weight_name", "reason"),
    [
        ("Dense", "bias", "biases"),
        ("LSTM", "bias", "biases"),
        ("Dense", "lora_kernel_a", "not a kernel"),
        ("BatchNormalization", "gamma", "normalisation"),
        ("LayerNormalization", "beta", "normalisation"),
        ("DepthwiseConv2D", "kernel", "depthwise"),
        ("DepthwiseConv2D", "scale", "not a kernel"),
        ("SeparableConv2D", "depthwise_kernel", "depthwise"),
        ("PReLU", "alpha", "no rule says which weights of PReLU"),
        ("Wavelet", "kernel", "no rule says which weights of Wavelet"),
    ],
)
def test_is_skipped_with_a_reason(class_name, weight_name, reason):
    assert reason in reason_to_skip(class_name, weight_name)


@pytest.mark.parametrize(
    ("class_name", "weight_name"),
    [
        ("DepthwiseConv1D", "kernel"),
        ("DepthwiseConv2D", "kernel"),
        ("SeparableConv2D", "depthwise_kernel"),
    ],
)
def test_a_depthwise_kernel_is_pruned_on_request(class_name, weight_name):
    assert reason_to_skip(class_name, weight_name, with_depthwise=True) is None
    assert "biases" in reason_to_skip(class_name, "bias", with_depthwise=True)


@pytest.mark.parametrize(
    ("class_name", "weight_name", "rank", "expected"),
    [
        ("Dense", "kernel", 2, Layout((0,), (1,), 0)),
        ("Conv1D", "kernel", 3, Layout((0, 1), (2,), 1)),
        ("Conv2D", "kernel", 4, Layout((0, 1, 2), (3,), 2)),
        ("Conv3D", "kernel", 5, Layout((0, 1, 2, 3), (4,), 3)),
        ("Conv1DTranspose", "kernel", 3, Layout((0, 2), (1,), 2)),
        ("Conv2DTranspose", "kernel", 4, Layout((0, 1, 3), (2,), 3)),
        ("Conv3DTranspose", "kernel", 5, Layout((0, 1, 2, 4), (3,), 4)),
        ("DepthwiseConv1D", "kernel", 3, Layout((0,), (1, 2), None)),
        ("DepthwiseConv2D", "kernel", 4, Layout((0, 1), (2, 3), None)),
        ("SeparableConv2D", "depthwise_kernel", 4, Layout((0, 1), (2, 3), None)),
        ("SeparableConv2D", "pointwise_kernel", 4, Layout((0, 1, 2), (3,), 2)),
        ("LSTM", "recurrent_kernel", 2, Layout((0,), (1,), 0)),
        ("ConvLSTM2D", "kernel", 4, Layout((0, 1, 2), (3,), 2)),
        ("Embedding", "embeddings", 2, Layout((0,), (1,), None)),
        ("ReversibleEmbedding", "embeddings", 2, Layout((0,), (1,), None)),
        ("ReversibleEmbedding", "reverse_embeddings", 2, Layout((0,), (1,), 0)),
        ("Custom", "mix", 3, Layout((0, 1), (2,), 1)),
        ("Custom", "scale", 1, Layout((), (0,), None)),
        ("Custom", "temperature", 0, Layout((), (), None)),
    ],
)
def test_a_kernel_lies(class_name, weight_name, rank, expected):
    assert layout(class_name, weight_name, rank=rank) == expected


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        pytest.param("abc,cd->abd", Layout((0,), (1,), 0), id="as a Dense"),
        pytest.param("abc, cde -> abde", Layout((0,), (1, 2), 0), id="a query of heads"),
        pytest.param("abcd,cde->abe", Layout((0, 1), (2,), 1), id="the output of heads"),
        pytest.param("ab,cab->c", Layout((1, 2), (0,), 2), id="outputs in front"),
        pytest.param("abc,bcd->abd", Layout((1,), (0, 2), 1), id="a kernel for each position"),
        pytest.param("...x,xy->...y", Layout((0,), (1,), 0), id="any axes in front"),
        pytest.param("abc,bc->abc", Layout((), (0, 1), None), id="a scale"),
    ],
)
def test_the_kernel_of_an_einsum_lies_as_its_equation_says(equation, expected):
    rank = len(expected.inputs) + len(expected.outputs)

    assert layout("EinsumDense", "kernel", rank=rank, equation=equation) == expected
