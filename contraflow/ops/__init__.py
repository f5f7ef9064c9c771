"""F1, the ops: one record per op (see ``record``), a file a family."""
