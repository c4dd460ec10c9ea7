"""How each kind of data file becomes samples: a module each, which knows nothing of the others.

Each offers a function that yields ``Samples`` in the order of the file, a few at a time.
"""
