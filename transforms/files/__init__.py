"""Files on disk and in buckets: open, list, publish by rename or marker."""
