"""What a job resumes from, carried to the hub's store and back: so it goes on where another worker was killed."""
