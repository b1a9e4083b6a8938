"""How the pack learns and edits: one recipe a job, and every default once."""
