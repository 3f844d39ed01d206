"""The subcommands of `cairn`: one module each, imported when it is called."""
