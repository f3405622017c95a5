"""A loss for lploss: bones are as long as in the labels."""
