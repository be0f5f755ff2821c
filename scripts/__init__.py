"""The commands: parse arguments, call one function, print. One file each, also runnable by itself."""
