"""Generate decisions and rewards whose statistics are known.

Nothing here imports the pipeline or its parts. The rules of the specification are written a second time.
"""
