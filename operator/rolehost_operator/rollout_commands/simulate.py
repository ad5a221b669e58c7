"""`rolehost rollout simulate`: what the judge would do with traffic like yours."""

import json

import click

ASKED = ("sessions", "errors", "time")


@click.command(context_settings={"show_default": True})
@click.option("--stable", default=1.0, type=click.FloatRange(0.01, 50), help="Percent of turns that fail on stable.")
@click.option(
    "--candidate", default=5.0, type=click.FloatRange(0.01, 99), help="Percent that fail on a revision to be found."
)
@click.option(
    "--percent", default=5, type=click.IntRange(1, 99), help="Of new sessions, to the new revision: analysis of a step."
)
@click.option("--margin", default=2, type=click.IntRange(1, 50), help="analysis.marginPercent.")
@click.option(
    "--false-alarms-per-million",
    default=1_000,
    type=click.IntRange(1, 100_000),
    help="analysis.falseAlarmsPerMillion.",
)
@click.option("--interval", default=5, type=click.IntRange(1, 300), help="analysis.intervalSeconds.")
@click.option("--scrape", default=5, type=click.IntRange(1, 300), help="Seconds between two scrapes of the gateways.")
@click.option("--pace", default=6.0, type=click.FloatRange(0, 100), help="Seconds between two turns of a session.")
@click.option(
    "--rate",
    "rates",
    default=(1.0, 5.0, 25.0),
    multiple=True,
    type=click.FloatRange(0.05, 200),
    help="New sessions a second, for `time`; may be given again.",
)
@click.option(
    "--traffic",
    "models",
    default=("iid", "clustered", "bursty", "drifting"),
    multiple=True,
    type=click.Choice(["iid", "clustered", "bursty", "drifting"]),
    help="For `errors`; may be given again.",
)
@click.option(
    "--flagger-min",
    "minima",
    default=(97.0, 99.0),
    multiple=True,
    type=click.FloatRange(0, 100),
    help="Percent of good turns that Flagger's rule asks for; the first one is for `time`.",
)
@click.option("--ask", "asked", default=ASKED, multiple=True, type=click.Choice(ASKED), help="Only this question.")
@click.option("--runs", default=100, type=click.IntRange(1, 100_000), help="Of each case.")
@click.option("--seed", default=1, help="The same seed gives the same figures.")
@click.option("--json", "as_json", is_flag=True, help="Figures for programs.")
def simulate(
    stable: float,
    candidate: float,
    percent: int,
    margin: int,
    false_alarms_per_million: int,
    interval: int,
    scrape: int,
    pace: float,
    rates: tuple[float, ...],
    models: tuple[str, ...],
    minima: tuple[float, ...],
    asked: tuple[str, ...],
    runs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Say how soon a bad revision would be found, a good one proven, and how often either would be wrong.

    \b
    sessions  how many the new revision needs, beside what no test can do better than
    errors    good ones rolled back, and ones promoted that are worse by the margin
    time      beside Flagger's rule, on the same traffic

    Nothing is asked of a cluster. It takes a minute or two; --ask and --runs make it shorter.
    """
    from rolehost_api.crd.rollout import Analysis
    from rolehost_operator.simulation import studies
    from rolehost_operator.simulation.table import Report, figures, shown
    from rolehost_operator.simulation.traffic import Model, session_fails

    if candidate <= stable:
        raise click.BadParameter("it must fail more often than stable", param_hint="--candidate")
    if "errors" in asked and session_fails(stable / 100) + margin / 100 >= 0.99:
        raise click.BadParameter("no revision can be worse than stable by that much", param_hint="--margin")
    setting = studies.Setting(
        stable=stable / 100,
        candidate=candidate / 100,
        percent=percent,
        analysis=Analysis(
            interval_seconds=interval,
            margin_percent=margin,
            false_alarms_per_million=false_alarms_per_million,
        ),
        pace=pace,
        scrape=scrape,
        minima=minima,
        runs=runs,
        seed=seed,
    )
    sessions: list[studies.Sessions] = []
    errors: list[studies.Errors] = []
    races: list[studies.Race] = []
    if "sessions" in asked:
        sessions += [studies.sessions_to_unhealthy(setting, model) for model in (Model.IID, Model.CLUSTERED)]
        sessions.append(studies.sessions_to_healthy(setting))
    if "errors" in asked:
        for model in map(Model, models):
            errors += [*studies.false_rollbacks(setting, model), studies.false_promotions(setting, model)]
    if "time" in asked:
        races += [studies.race(setting, rate) for rate in rates]
    report = Report(setting, tuple(sessions), tuple(errors), tuple(races))
    click.echo(json.dumps(figures(report), indent=1) if as_json else shown(report))
