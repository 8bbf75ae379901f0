"""Makes reports in plain text, JSON and JUnit XML, from plain data."""
