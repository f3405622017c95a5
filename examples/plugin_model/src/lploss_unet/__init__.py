"""A model for lploss: a small U-Net."""
