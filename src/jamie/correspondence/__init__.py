"""Who matches whom: arrays in, CSR out."""

from __future__ import annotations

from ._known import cap_rows, from_column, from_mask, from_matrix, from_names, from_table

__all__ = ["cap_rows", "from_column", "from_mask", "from_matrix", "from_names", "from_table"]
