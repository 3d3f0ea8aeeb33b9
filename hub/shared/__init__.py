"""What processes of a site share beside rows and bytes, as settings of Django's: connections, and a cache."""
