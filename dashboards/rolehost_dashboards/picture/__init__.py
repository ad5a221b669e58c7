"""Draws a board without Grafana: its panels, in its grid, from a Prometheus, as one SVG.

    python -m rolehost_dashboards.picture --prometheus http://127.0.0.1:9090 --board role \
        --var tenant=acme --var role=cat --out role.svg

For pictures in documents and where no Grafana is to be had. It knows the kinds of panels that our boards use and no
others, and the picture says in its corner who drew it.
"""
