"""One manifest a plugin: strings only, so that listing what there is imports nothing heavy."""
