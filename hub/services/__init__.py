"""The verbs that write. Nothing else in the hub creates, changes or deletes a row."""
