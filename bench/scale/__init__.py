"""How many jobs the service gets through with how many workers, and what it costs each."""
