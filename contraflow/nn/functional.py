"""The functions of ``torch.nn.functional`` that exist here, under one name."""

from contraflow.ops.activation import *  # noqa: F403
from contraflow.ops.class_loss import *  # noqa: F403
from contraflow.ops.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from contraflow.ops.gelu import gelu
from contraflow.ops.loss import *  # noqa: F403
from contraflow.ops.margin_loss import *  # noqa: F403
from contraflow.ops.matmul import linear
from contraflow.ops.join import pad
from contraflow.ops.pooling import *  # noqa: F403
from contraflow.ops.repeats import one_hot
from contraflow.ops.softmax import *  # noqa: F403
from contraflow.ops.transcendental import sigmoid, tanh

# last, because these take the place of the plain ones above (inplace=, implied dims)
from contraflow.nn.inplace import *  # noqa: F403
from contraflow.nn.noise import *  # noqa: F403
from contraflow.nn.lookup import *  # noqa: F403
