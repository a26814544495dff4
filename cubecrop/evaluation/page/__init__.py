"""The report as people read it: one HTML page that needs nothing else, and Markdown."""

from __future__ import annotations

from cubecrop.evaluation.page.html_page import html_page
from cubecrop.evaluation.page.markdown import markdown

__all__ = ["html_page", "markdown"]
