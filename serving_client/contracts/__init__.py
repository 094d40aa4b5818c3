"""What crosses the border between trainers, servers and clients: names and records; standard library and numpy only."""
