"""Rules by configuration: checks of single spans and traces, limits over windows, budgets by component."""
