"""What can go wrong in the library, and whose fault it is.

PruningError
├── PruningConfigError       a setting lies outside its domain      (also ValueError)
├── UnsupportedModelError    nothing here that this configuration can prune
└── NonFiniteWeightsError    the training diverged: weights are NaN or infinite
"""


class PruningError(Exception):
    """Base of every error that ``pruning_core`` raises on purpose."""


class PruningConfigError(PruningError, ValueError):
    """A setting lies outside its domain; trying again with the same setting cannot help.

    Args:
        message: The rule, then the evidence, for example
            ``final_sparsity must be a fraction in [0, 1). Received: 50``.
        field: Name of the setting as the caller wrote it, so that a form or an API can point
            at it.
    """

    def __init__(self, message: str, *, field: str) -> None:
        """Keep ``field`` beside the message."""
        super().__init__(message)
        self.field = field


class UnsupportedModelError(PruningError):
    """Nothing in the model can be pruned by this configuration."""


class NonFiniteWeightsError(PruningError):
    """Weights are NaN or infinite, so they cannot be ranked: the training has diverged."""
