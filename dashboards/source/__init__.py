"""The Grafana dashboards, as code: `make dashboards` writes dashboards/grafana/*.json from it."""
