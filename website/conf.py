"""How Sphinx builds the site; nothing in it asks a network when it is read."""

from kmemtrace import __version__

project = "kmemtrace"
copyright = "the kmemtrace authors"  # noqa: A001 (Sphinx's name for it)
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 4  # as a forge makes them, so that links hold in both
highlight_language = "text"
smartquotes = False  # would make one dash of the two that an option begins with

html_theme = "furo"
html_title = "kmemtrace"
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # would be fetched, which browsers refuse where the site is files
html_theme_options = {"navigation_with_keys": False}
