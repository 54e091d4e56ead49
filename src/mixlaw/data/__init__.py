"""The data types: plain, frozen, checked when made."""
