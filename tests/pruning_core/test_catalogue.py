import pytest

from pruning_core.catalogue import is_known, reason_to_skip


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
        ("SeparableConv2D", "depthwise_kernel", "depthwise"),
        ("PReLU", "alpha", "no rule says which weights of PReLU"),
        ("Wavelet", "kernel", "no rule says which weights of Wavelet"),
    ],
)
def test_is_skipped_with_a_reason(class_name, weight_name, reason):
    assert reason in reason_to_skip(class_name, weight_name)
