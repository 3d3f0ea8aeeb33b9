"""Pages for administrators of the site; everybody else is refused before anything is looked up."""
