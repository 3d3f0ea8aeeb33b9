"""What the pages of one thing show: gathered here, drawn by templates."""
