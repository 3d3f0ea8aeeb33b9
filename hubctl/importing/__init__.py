"""From elsewhere to this hub: models and adapters of a Hugging Face Hub, and the files of bases."""
