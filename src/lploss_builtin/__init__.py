"""Everything that ships with lploss as a plugin: operations, losses, data, commands."""
