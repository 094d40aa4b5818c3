"""The Beam pipelines, one folder each; none imports another (what two share lives in `transforms`)."""
