# The peer, which lives in an environment of its own (bench/peer); everything in it is Any.

from typing import Any

def __getattr__(name: str) -> Any: ...
