"""contraflow: neural networks trained by backpropagation, in PyTorch's spelling.

>>> import contraflow as cf
>>> x = cf.tensor([0.5, 0.8])
>>> w = cf.tensor([0.4, 0.6], requires_grad=True)
>>> loss = (cf.sigmoid(x @ w) - 1) ** 2
>>> loss.backward()
>>> w.grad
tensor([-0.0751, -0.1201])
"""

from contraflow import autograd, data, func, nn, optim
from contraflow.base.dtypes import *
from contraflow.base.dtypes import bool_ as bool
from contraflow.base.errors import *
from contraflow.ops.activation import *
from contraflow.ops.arith import *
from contraflow.ops.blend import *
from contraflow.ops.einsum import *
from contraflow.ops.extrema import *
from contraflow.ops.index import *
from contraflow.ops.join import *
from contraflow.ops.logic import *
from contraflow.ops.matmul import *
from contraflow.ops.products import *
from contraflow.ops.quantile import *
from contraflow.ops.reduce import *
from contraflow.ops.repeats import *
from contraflow.ops.rounding import *
from contraflow.ops.scan import *
from contraflow.ops.shape import *
from contraflow.ops.softmax import *
from contraflow.ops.sort import *
from contraflow.ops.special import *
from contraflow.ops.statistics import *
from contraflow.ops.transcendental import *
from contraflow.tensor import methods
from contraflow.tensor.convert import *
from contraflow.tensor.create import *
from contraflow.tensor.grad_mode import *
from contraflow.tensor.indexing import *
from contraflow.tensor.rng import *
from contraflow.tensor.sampling import *
from contraflow.tensor.tensor import Size, Tensor
from contraflow.tensor.unique import *

float = float32
double = float64
half = float16
long = int64
int = int32
