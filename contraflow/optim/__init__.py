"""Optimisers, learning-rate schedules and averages of weights.

>>> import contraflow as cf
>>> sorted(cf.optim.RULES)[:3]
['ASGD', 'Adadelta', 'Adafactor']
"""

from contraflow.optim import lr_scheduler, swa_utils
from contraflow.optim.lbfgs import LBFGS
from contraflow.optim.optimizer import Optimizer
from contraflow.optim.rules import RULES
from contraflow.optim.rules.adam import Adam, Adamax, AdamW, NAdam, RAdam
from contraflow.optim.rules.adaptive import Adadelta, Adagrad, RMSprop
from contraflow.optim.rules.descent import ASGD, SGD, Lion, Rprop
from contraflow.optim.rules.layerwise import LAMB, Adafactor, Muon
from contraflow.optim.rules.schedule_free import ScheduleFreeAdamW

__all__ = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LAMB", "LBFGS",
    "Lion", "Muon", "NAdam", "Optimizer", "RAdam", "RMSprop", "RULES", "Rprop", "SGD",
    "ScheduleFreeAdamW", "lr_scheduler", "swa_utils",
]  # fmt: skip
