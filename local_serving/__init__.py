"""A model server that behaves like tensorflow_model_server, for development and tests.

`python -m local_serving` takes that server's own flags, so that the real one replaces it by changing the program's
name. For production run the real one.
"""
