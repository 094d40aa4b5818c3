"""How rewards are attributed to decisions: records to columns, the open records, and the exact sums over them."""
