"""Layers, losses, initialisation and helpers, in PyTorch's names."""

from contraflow.nn import functional, init, utils
from contraflow.nn.activation import *
from contraflow.nn.container import (
    ModuleDict,
    ModuleList,
    Residual,
    Sequential,
)
from contraflow.nn.conv import *
from contraflow.nn.distance import CosineSimilarity, PairwiseDistance
from contraflow.nn.dropout import *
from contraflow.nn.fold import *
from contraflow.nn.lazy import *
from contraflow.nn.linear import *
from contraflow.nn.loss import *
from contraflow.nn.module import Module
from contraflow.nn.normalization import *
from contraflow.nn.padding import *
from contraflow.nn.parameter import (
    Buffer,
    Parameter,
    UninitializedBuffer,
    UninitializedParameter,
)
from contraflow.nn.parameters import ParameterDict, ParameterList
from contraflow.nn.pooling import *
from contraflow.nn.softmax import *
from contraflow.nn.sparse import *
from contraflow.nn.upsampling import *
