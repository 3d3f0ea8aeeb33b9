"""The checks of `manage.py fsck`, one noun a module: each yields what contradicts the promises of its rows or bytes."""
