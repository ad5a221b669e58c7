"""What holds for every panel, checked without a Prometheus or a Grafana.

`promql` reads queries, `labels` tells which labels a query's result has, `rules` looks at boards. None knows which
series there are: whoever asks brings them.
"""
