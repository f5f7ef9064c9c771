"""The functions of ``torch.nn.functional`` that exist here, under one name."""

from contraflow.ops.class_loss import *  # noqa: F403
from contraflow.ops.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from contraflow.ops.fold import fold, unfold
from contraflow.ops.loss import *  # noqa: F403
from contraflow.ops.margin_loss import *  # noqa: F403
from contraflow.ops.matmul import linear
from contraflow.ops.join import pad
from contraflow.ops.normalize import *  # noqa: F403
from contraflow.ops.pooling import *  # noqa: F403
from contraflow.ops.repeats import one_hot
from contraflow.ops.resize import *  # noqa: F403
from contraflow.nn.lookup import *  # noqa: F403
from contraflow.nn.noise import *  # noqa: F403
from contraflow.nn.nonlinear import *  # noqa: F403
from contraflow.nn.running import *  # noqa: F403
from contraflow.nn.shares import *  # noqa: F403
from contraflow.nn.vectors import *  # noqa: F403
