"""What a person needs to know once everything runs: addresses, data, how to point a client at the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.cli.database import opened, show_database
from backend.cli.health import show_address
from backend.cli.output import paint

if TYPE_CHECKING:
    from backend.environment import Environment

_CLIENT = """
  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello"}}])
"""


def write_summary(environment: Environment, *, gateway: bool, console: bool, demo: bool = False) -> str:
    """The text; it reads the database, so it is made before anything runs."""
    url = show_address(environment.gateway_host, environment.gateway_port)
    lines = [paint("Governor is running. Ctrl-C stops it.", "bold"), ""]
    if gateway:
        lines.append(f"  gateway   {paint(url + '/v1', 'cyan')}")
    if console:
        lines.append(f"  console   {paint(show_address(environment.console_host, environment.console_port), 'cyan')}")
    lines.append(f"  data      {environment.data_dir} (database {show_database(environment)})")
    if demo:
        lines.append(f"  traffic   {paint('made up', 'yellow')}: two weeks of calls, and live visitors now")
    if gateway:
        models, real = _read_models(environment)
        lines.append(f"  answers   {_describe_answers(real)}")
        key = "any text: no key is set up" if not _count_keys(environment) else "gov-…"
        lines.append(_CLIENT.format(url=url, key=key, model=next(iter(models), "gpt-4o-mini")))
    return "\n".join(lines)


def _read_models(environment: Environment) -> tuple[list[str], list[str]]:
    """Models that can be asked for, and the deployments that reach a real provider."""
    from backend.settings import store

    with opened(environment) as engine:
        deployments = store.current(engine).settings.deployments
    models = [deployment.model for deployment in deployments if deployment.model != "*"]
    return models, [deployment.name for deployment in deployments if deployment.provider != "simulated"]


def _describe_answers(real: list[str]) -> str:
    if real:
        return f"from {', '.join(real[:5])}{' …' if len(real) > 5 else ''}"
    return paint("simulated", "yellow") + ": no model is called until a deployment names a real provider"


def _count_keys(environment: Environment) -> int:
    from db.engine import reading
    from db.keys import list_rows

    with opened(environment) as engine, reading(engine) as connection:
        return sum(row.revoked_at is None for row in list_rows(connection))
