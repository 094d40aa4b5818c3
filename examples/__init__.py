"""Programs that show recbeam at work; no part of the distribution."""
