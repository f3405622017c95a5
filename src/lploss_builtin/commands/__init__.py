"""Commands that built-in plugins add to ``lploss``."""
