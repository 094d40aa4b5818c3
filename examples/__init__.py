"""Contain example programs that use recbeam. They are not part of the distribution."""
