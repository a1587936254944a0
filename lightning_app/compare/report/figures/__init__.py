"""The figures of a report, one message each."""
