"""The vocabulary: span, trace, finding, issue, measurement. Values only; no I/O, no behaviour beyond derivation."""
