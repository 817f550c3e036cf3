"""The outputs of a run: terminal tables, the page, and exports to other tools."""
