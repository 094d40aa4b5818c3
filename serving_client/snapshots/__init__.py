"""Published snapshots of arm statistics: reading them from a store, and following a store in the background.

Needs the extra `router`, and the extra of the store: `s3`, `gcs`, `http`, `dynamodb` or `redis`.
"""
