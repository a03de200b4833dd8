"""OTLP on the wire: slicing requests into spans, putting spans together again, reading only what is needed."""
