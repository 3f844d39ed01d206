"""The pages of a report, as jinja2 templates."""
