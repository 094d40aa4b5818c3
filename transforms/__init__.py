"""Code that more than one pipeline uses, one folder per subject."""
