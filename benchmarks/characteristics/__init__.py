"""How often each rule says PASS, FAIL or neither, when the truth is known: simulated, counted, written down."""
