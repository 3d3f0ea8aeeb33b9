"""What administrators of the site do over REST; everything else answers them as it answers any user."""
