"""Scaling laws over result rows: fits, intervals, exchange rates; needs no study."""
