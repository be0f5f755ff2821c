"""Published population models, one file each. Each file ends with its `MODEL`."""
