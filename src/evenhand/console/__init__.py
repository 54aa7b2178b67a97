"""The kit of the command line: what every command is made of. The commands themselves are in `evenhand.cli` and the methods."""
