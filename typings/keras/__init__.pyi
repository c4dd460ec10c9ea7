# Keras ships no py.typed, and what can be inferred from its source is often wrong (`verbose` of
# `fit` would be a str). So everything in it is Any, said once here; the rest stays strict.

from typing import Any

def __getattr__(name: str) -> Any: ...
