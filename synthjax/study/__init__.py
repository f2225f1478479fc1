"""A study: the products that a config asks for, and their making."""

from synthjax.study.graph import Study, design
from synthjax.study.running import run

__all__ = ["Study", "design", "run"]
