"""Magnitude pruning for Keras 3."""
