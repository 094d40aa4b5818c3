"""Join decision and reward logs in a batch: one row per decision, with its reward."""
