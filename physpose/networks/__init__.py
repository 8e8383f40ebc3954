"""Networks, and the layers that make any network physical."""
