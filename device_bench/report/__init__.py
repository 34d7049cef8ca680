"""Reports: HTML, Markdown, JSON."""
