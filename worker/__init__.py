"""The process that prunes: a thin Celery skin over a run that knows no Celery."""
