"""The course as a site: its pages are made from the tested files, checked, and built by Sphinx.

    pages       which files become pages, and in which order
    notebooks   a notebook as a page: predictions folded, answers behind a click
    reference   the reference, from docstrings and from what lessons import
    prose       links and headings of Markdown
    places      where the course can be opened, from the address of its git remote
    changes     the feed of changes
    faults      what keeps a file off the site, by file and cell
    built       what is wrong with the pages that came out
    staging     write what Sphinx reads
    finish      what Sphinx's pages lack
    documents   what an author writes, as pieces of Markdown
    docstrings  a docstring as Sphinx reads it

Run it by `make site`. Sphinx's settings, its styles and the landing page are in `site/`.
"""
