"""F2, the tensor: handle, eager interpreter, tape, and the methods that spell ops."""
