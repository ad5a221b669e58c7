"""Networks that are not as they should be, made in user space."""
