"""F4, the compiler: a captured step becomes one native call (LLVM through llvmlite).

    capture -> expand, fold, merge -> fused kernels -> memory plan -> LLVM text -> machine code

``compile`` is the door; ``step.explain()`` says what became of a step.
"""

from contraflow.compiler.step import Compiled, compile

__all__ = ["Compiled", "compile"]
