"""What runs update rules: on models as torch optimizers, on surfaces for many points at once."""
