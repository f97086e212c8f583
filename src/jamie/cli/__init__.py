"""Command line for pipelines."""

from __future__ import annotations
