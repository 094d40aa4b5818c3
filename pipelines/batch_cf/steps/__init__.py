"""Wire the modules of batch_cf as Beam transforms, one for each arrow of `pipeline.py`."""
