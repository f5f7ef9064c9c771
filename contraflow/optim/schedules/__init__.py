"""The schedules behind ``cf.optim.lr_scheduler``."""
