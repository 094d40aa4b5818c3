"""What the router benchmark is made of."""
