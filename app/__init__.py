"""The service as its callers see it. Importing it loads no TensorFlow."""
