"""Rule checks: pure inspections of one trace, their registry, and the exact fingerprint that groups what they find."""
