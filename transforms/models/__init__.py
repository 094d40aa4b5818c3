"""A servable model: its graph and assets, publishing, rollback and sync to a server."""
