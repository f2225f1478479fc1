"""Keeping images: what an example holds, how a shard lands, who makes which, how a set is opened."""
