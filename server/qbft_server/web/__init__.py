"""The dashboard: what a node shows people of itself and its cluster, in any browser, read-only.

Plain HTML, CSS and JavaScript, served as they lie here; nothing is built, nothing is fetched from
elsewhere.
"""
