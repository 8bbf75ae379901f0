"""Shows all hosts at once, from a Prometheus server that scrapes their exporters."""
