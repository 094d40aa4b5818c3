"""Run a model server that behaves like tensorflow_model_server, for development and tests.

`python -m local_serving` takes the flags of tensorflow_model_server. To use the real server, change only the program's
name. In production, run the real server.
"""
