"""F0, the ground floor: errors, dtypes, shapes, modes and the user's source line."""
