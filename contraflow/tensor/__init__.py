"""F2, the tensor: handle, eager interpreter, tape, and the methods that spell ops."""

from contraflow.base.memory import keep_freed_memory

keep_freed_memory()
