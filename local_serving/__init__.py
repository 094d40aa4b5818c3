"""A model server that behaves like tensorflow_model_server, for development and tests.

`python -m local_serving` will take that server's own flags, so that the real one replaces it by changing the
program's name. Nothing is here yet.
"""
