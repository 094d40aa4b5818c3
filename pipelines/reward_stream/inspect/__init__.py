"""What has been published, as a person reads it."""
