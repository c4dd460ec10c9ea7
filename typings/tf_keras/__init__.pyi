# Keras 2, which lives in the peer's environment only (bench/peer); everything in it is Any.

from typing import Any

def __getattr__(name: str) -> Any: ...
