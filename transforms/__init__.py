"""What more than one pipeline uses: interactions, hashing, dead letters, run folders, publishing."""
