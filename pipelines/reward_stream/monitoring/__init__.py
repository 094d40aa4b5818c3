"""What an operator sees: metrics, status lines, the exposure test."""
