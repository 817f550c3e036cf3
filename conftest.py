"""Local things only: everything that other projects could use lives in the plugin."""
