"""Rules on single numbers: of ΔW, streamed by rows and cut to a rank, or of the factors A and B."""
