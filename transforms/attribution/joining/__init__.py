"""Rewards are joined to their decisions; the open records are held in memory."""
