"""The training demo: images are made, a network learns from them, a page shows the result."""
