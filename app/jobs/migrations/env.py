"""What Alembic runs for each command; ``app.jobs.database.migrate`` hands it the connection."""

from alembic import context

from app.jobs.tables import metadata


def _run() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        transactional_ddl=True,
    )
    context.run_migrations()


# Alembic loads this file under this name; imported by anyone else it does nothing.
if __name__ == "env_py":
    _run()
