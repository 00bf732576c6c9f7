"""Makes the roles that the broker and applications use. Patroni starts this once, in a new cluster.

The administrator makes roles and databases and may end sessions, but is no superuser: that is what the broker works
with over the network. The application role owns the database; roles of single bindings become its members.

Statements go to psql over its standard input, with verifiers in place of passwords: nothing secret is on a command
line, in an environment or in PostgreSQL's log.
"""

import json
import os
import subprocess
import sys

from .configuration import PRIVATE_DIRECTORY, SOCKET_DIRECTORY
from .files import write_atomically
from .scram import verifier
from .settings import Secrets, Settings

PLAN_FILE = f"{PRIVATE_DIRECTORY}/post_bootstrap.json"


def write_plan(settings: Settings, secrets: Secrets) -> None:
    """Leaves what is to be done where Patroni's child will find it; it holds verifiers, no passwords."""
    plan = {
        "superuser": secrets.superuser.username,
        "database": settings.database,
        "roles": {
            role: {"username": credentials.username, "verifier": verifier(credentials.password, os.urandom(16))}
            for role, credentials in (("admin", secrets.admin), ("app", secrets.app))
        },
    }
    write_atomically(PLAN_FILE, json.dumps(plan), 0o600)


def statements(plan: dict) -> list[str]:
    """SQL for a cluster that was just made."""
    admin, app = (plan["roles"][role] for role in ("admin", "app"))
    admin_name, app_name, database = map(identifier, (admin["username"], app["username"], plan["database"]))
    make_database = (
        f"ALTER DATABASE {database} OWNER TO {app_name}"
        if plan["database"] == "postgres"
        else f"CREATE DATABASE {database} OWNER {app_name}"
    )
    return [
        f"CREATE ROLE {admin_name} LOGIN CREATEROLE CREATEDB PASSWORD {literal(admin['verifier'])};",
        f"CREATE ROLE {app_name} LOGIN PASSWORD {literal(app['verifier'])};",
        f"GRANT {app_name} TO {admin_name} WITH ADMIN OPTION;",
        f"GRANT pg_signal_backend, pg_monitor TO {admin_name};",
        f"{make_database};",
    ]


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string constant that means the same whatever `standard_conforming_strings` is set to."""
    if "\\" in text:
        return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    return "'" + text.replace("'", "''") + "'"


def main() -> int:
    with open(PLAN_FILE, encoding="utf-8") as file:
        plan = json.load(file)
    connection = ["--host", SOCKET_DIRECTORY, "--username", plan["superuser"], "--dbname", "postgres"]
    result = subprocess.run(
        ["psql", "--no-psqlrc", "--quiet", "--no-password", "--set", "ON_ERROR_STOP=1", *connection],
        input="\n".join(statements(plan)),
        encoding="utf-8",
        check=False,
    )
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
