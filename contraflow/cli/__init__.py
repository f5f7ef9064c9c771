"""F9: the command ``contraflow``. Each command parses, calls the floors below, and prints."""
