"""The loss classes, one file a family: configuration and masks, thin over `ops`."""
