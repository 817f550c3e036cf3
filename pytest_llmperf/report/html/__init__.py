"""The page of a run: what stands in it (sections of plots, tables and sentences), and how that becomes HTML."""
