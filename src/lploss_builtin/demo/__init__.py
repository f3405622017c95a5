"""The demos: one trains a network with generated images, one scores generated predictions."""
