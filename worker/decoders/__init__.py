"""How each kind of data file becomes samples: a module each, which knows nothing of the others.

Each offers a function that yields ``Decoded`` in the order of the file, a few samples at a time.
"""
