"""Keeping images: what an example holds, how a shard is published, who makes which, how a set is opened."""
