"""Believable agent traffic with faults, through the real OpenTelemetry SDK."""
