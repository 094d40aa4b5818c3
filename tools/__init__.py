"""Scripts for developers of this repository; nothing here is installed."""
