"""What is measured, beside which peers; a benchmark takes a data path and judges nothing."""
