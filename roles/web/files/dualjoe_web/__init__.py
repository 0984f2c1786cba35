"""The web page on T440: it shows the pair, and where a token allows it, pauses and moves."""
