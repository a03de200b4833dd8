"""What the checks of text share: one scan of a trace; what makes a sighting personal data, a secret, a language."""
