"""The formats besides ``.keras``, a module each: how a file is written, opened and run."""
