"""F2, the tensor: handle, eager interpreter, tape, and the methods that spell ops.

In the order in which it can be read:

* the value: ``pending``, ``versions``, ``views``, ``arrays``;
* the handle: ``node``, ``tensor``, ``handles``, ``declared``;
* an op: ``operands``, ``eager``, ``diagnosis``, ``tape`` (what is kept), ``writing`` (in place);
* the way back: ``walk``, ``gradients``, ``hooks``, ``grad_mode``, ``anomaly``, ``gradcheck``; other
  nodes: ``custom``, ``checkpointing``, ``folded`` (several that stand as one);
* making tensors: ``create``, ``constructors``, ``rng``, ``sampling``;
* working with them: ``convert``, ``indexing``, ``fills``, ``printing``, ``questions``,
  ``histogram``, ``unique``; ``methods`` attaches all of it.
"""

from contraflow.base.memory import keep_freed_memory

keep_freed_memory()
