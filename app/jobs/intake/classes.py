"""The Keras classes and functions that an uploaded configuration may name: an allow-list.

Left out on purpose, though Keras exports them: whatever carries or loads code (``Lambda``,
``TFSMLayer``, ``JaxLayer``, ``FlaxLayer``, ``TorchModuleWrapper``), what opens files by name or
holds text (``StringLookup``, ``IntegerLookup``, ``FeatureSpace``; ``TextVectorization`` is taken
with its words alone, see ``TEXT_SETTINGS``),
operations that take a function (``Map``, ``Scan``, ``WhileLoop`` …) or make a tensor of any size
from a number (``Arange``, ``Full`` …), quantised dtype policies, and abstract bases.
"""

from __future__ import annotations


def names(text: str) -> frozenset[str]:
    """A set of names, written as running text."""
    return frozenset(text.split())


MODELS = frozenset({"Functional", "Model", "Sequential"})

LAYERS = names(
    # Core and activations.
    "InputLayer Identity Activation Masking Dense EinsumDense Embedding ReversibleEmbedding "
    "ELU LeakyReLU PReLU ReLU Softmax ActivityRegularization "
    # Convolution.
    "Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose "
    "Convolution1D Convolution2D Convolution3D "
    "Convolution1DTranspose Convolution2DTranspose Convolution3DTranspose "
    "DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D "
    "SeparableConvolution1D SeparableConvolution2D "
    # Pooling.
    "AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D "
    "MaxPooling1D MaxPooling2D MaxPooling3D MaxPool1D MaxPool2D MaxPool3D "
    "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
    "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D "
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
    "GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D "
    "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
    "GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D "
    # Recurrence and wrappers.
    "RNN SimpleRNN LSTM GRU ConvLSTM1D ConvLSTM2D ConvLSTM3D "
    "SimpleRNNCell LSTMCell GRUCell StackedRNNCells Bidirectional TimeDistributed "
    # Attention.
    "Attention AdditiveAttention MultiHeadAttention GroupQueryAttention "
    # Normalisation and regularisation.
    "BatchNormalization LayerNormalization GroupNormalization RMSNormalization "
    "UnitNormalization SpectralNormalization Normalization "
    "Dropout AlphaDropout GaussianDropout GaussianNoise "
    "SpatialDropout1D SpatialDropout2D SpatialDropout3D "
    # Merging and reshaping.
    "Add Average Concatenate Dot Maximum Minimum Multiply Subtract "
    "Flatten Permute RepeatVector Reshape Cropping1D Cropping2D Cropping3D "
    "UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D "
    # Preprocessing of texts, numbers and images.
    "TextVectorization Rescaling Resizing CenterCrop CategoryEncoding Discretization "
    "MelSpectrogram STFTSpectrogram "
    "AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MixUp "
    "RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast "
    "RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur "
    "RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation "
    "RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom Solarization"
)

INITIALIZERS = names(
    "Constant Identity IdentityInitializer Ones Zeros GlorotNormal GlorotUniform HeNormal "
    "HeUniform LecunNormal LecunUniform Orthogonal OrthogonalInitializer RandomNormal "
    "RandomUniform TruncatedNormal VarianceScaling STFT STFTInitializer"
)

REGULARIZERS = names("L1 L2 L1L2 OrthogonalRegularizer")

CONSTRAINTS = names("MaxNorm MinMaxNorm NonNeg UnitNorm")

LOSSES = names(
    "BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy "
    "CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle "
    "CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError "
    "MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson "
    "SparseCategoricalCrossentropy SquaredHinge Tversky"
)

METRICS = names(
    "AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy "
    "CategoricalCrossentropy CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score "
    "FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence LogCoshError Mean "
    "MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper MeanSquaredError "
    "MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson Precision "
    "PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError "
    "SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy "
    "SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum "
    "TopKCategoricalAccuracy TrueNegatives TruePositives"
)

OPTIMIZERS = names(
    "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Muon Nadam "
    "RMSprop SGD ScheduleFreeAdamW"
)

SCHEDULES = names(
    "CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay "
    "PolynomialDecay"
)

DTYPE_POLICIES = names("DTypePolicy DTypePolicyMap FloatDTypePolicy")

#: Refused by a name of their own: such weights cannot be fine-tuned.
QUANTIZED_POLICIES = names(
    "AWQDTypePolicy GPTQDTypePolicy Int4DTypePolicy QuantizedDTypePolicy QuantizedFloat8DTypePolicy"
)

#: What a ``TextVectorization`` may be told; the rest could be code, or take weights that are none.
#: The first of each is Keras' default.
TEXT_SETTINGS: dict[str, tuple[str | bool | None, ...]] = {
    "standardize": ("lower_and_strip_punctuation", "lower", "strip_punctuation", None),
    "split": ("whitespace", "character", None),
    "output_mode": ("int", "one_hot", "multi_hot", "count"),
    "idf_weights": (None,),
    "encoding": ("utf-8",),
    "ragged": (False,),
    "sparse": (False,),
}

#: What stands in a layer's configuration without being a layer.
PARTS = DTYPE_POLICIES | QUANTIZED_POLICIES

#: Layers that Keras has or had, and that are refused.
REFUSED_LAYERS = names(
    "ClassMethod CuDNNGRU CuDNNLSTM DenseFeatures FeatureSpace FlaxLayer HashedCrossing Hashing "
    "InstanceMethod InstanceProperty IntegerLookup JaxLayer Lambda LocallyConnected1D "
    "LocallyConnected2D RandomHeight RandomWidth SlicingOpLambda StringLookup TFOpLambda TFSMLayer "
    "TensorFlowOpLayer ThresholdedReLU TorchModuleWrapper __lambda__ function"
)

ACTIVATIONS = names(
    "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh "
    "leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink "
    "softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh "
    "tanh_shrink threshold"
)

LOSS_FUNCTIONS = names(
    "binary_crossentropy binary_focal_crossentropy categorical_crossentropy "
    "categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge "
    "circle cosine_similarity ctc dice hinge huber kl_divergence log_cosh mean_absolute_error "
    "mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson "
    "sparse_categorical_crossentropy squared_hinge tversky"
)

METRIC_FUNCTIONS = names(
    "binary_accuracy categorical_accuracy sparse_categorical_accuracy "
    "sparse_top_k_categorical_accuracy top_k_categorical_accuracy concordance_correlation "
    "pearson_correlation"
)

#: What a functional model records for ``x + 1`` or ``keras.ops.relu(x)``.
OPERATIONS: dict[str, frozenset[str]] = {
    "keras.src.ops.numpy": names(
        "Absolute Add All Amax Amin Any Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh "
        "Argmax Argmin Argsort Average Cbrt Ceil Clip Concatenate Cos Cosh CountNonzero Cross "
        "Cumprod Cumsum Deg2rad Diagonal Diff Divide DivideNoNan Dot Einsum Equal Exp Exp2 "
        "ExpandDims Expm1 Fabs Flip Floor FloorDivide Fmax Fmin Fmod GetItem Greater GreaterEqual "
        "Hstack Hypot Inner Isfinite Isinf Isnan Less LessEqual Log Log10 Log1p Log2 Logaddexp "
        "LogicalAnd LogicalNot LogicalOr LogicalXor Matmul Max Maximum Mean Median Min Minimum "
        "Mod Moveaxis Multiply NanToNum Negative NotEqual OnesLike Outer Pad Power Prod Rad2deg "
        "Ravel Reciprocal Repeat Reshape Roll Round Sign Signbit Sin Sinc Sinh Sort Split Sqrt "
        "Square Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh Tensordot "
        "Tile Trace Transpose Tril Triu TrueDivide Trunc Var Vdot Vstack Where ZerosLike"
    ),
    "keras.src.ops.nn": names(
        "AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm Celu DepthToSpace "
        "DotProductAttention Elu Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm "
        "LeakyRelu LogSigmoid LogSoftmax MaxPool Moments Normalize RMSNorm Relu Relu6 Selu "
        "Sigmoid Silu SoftShrink Softmax Softplus Softsign SpaceToDepth SparsePlus "
        "SparseSigmoid Sparsemax Squareplus TanhShrink Threshold"
    ),
    "keras.src.ops.math": names("Erf Erfc Erfinv Logsumexp Rsqrt TopK"),
    "keras.src.ops.core": names("Cast SaturateCast StopGradient Unstack"),
}

#: Every class that a configuration may name, by the module that Keras writes beside it.
BY_MODULE: dict[str, frozenset[str]] = {
    "keras": frozenset({"Model", "Sequential"}) | DTYPE_POLICIES,
    "keras.models": frozenset({"Model", "Sequential"}),
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.src.models.sequential": frozenset({"Sequential"}),
    "keras.layers": LAYERS,
    "keras.initializers": INITIALIZERS,
    "keras.regularizers": REGULARIZERS,
    "keras.constraints": CONSTRAINTS,
    "keras.losses": LOSSES,
    "keras.metrics": METRICS,
    "keras.optimizers": OPTIMIZERS,
    "keras.optimizers.schedules": SCHEDULES,
    "keras.dtype_policies": DTYPE_POLICIES,
    **OPERATIONS,
}

#: The classes of an HDF5 configuration, which names no modules.
WITHOUT_MODULE = (
    MODELS
    | LAYERS
    | INITIALIZERS
    | REGULARIZERS
    | CONSTRAINTS
    | LOSSES
    | METRICS
    | OPTIMIZERS
    | SCHEDULES
    | DTYPE_POLICIES
    | {"GroupedQueryAttention"}
)

FUNCTIONS = ACTIVATIONS | LOSS_FUNCTIONS | METRIC_FUNCTIONS
FUNCTION_MODULES = frozenset({"builtins", "keras.activations", "keras.losses", "keras.metrics"})

#: Plain data that Keras writes as if it were an object.
DATA = frozenset({"__keras_tensor__", "__numpy__", "__tensor__", "__tuple__", "TensorShape"})
DATA_OF_FUNCTIONAL = frozenset({"__slice__", "__ellipsis__"})
