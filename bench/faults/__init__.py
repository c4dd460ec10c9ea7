"""Jobs under faults: whatever is killed, frozen, emptied, locked or full, nothing is lost.

``python -m bench.faults --faults 500 --seed 1`` runs the service as an operator would, each part a
process: API, broker, two workers. Callers submit jobs, pause, resume and cancel some, and download
what comes out, while one part after the other is struck. Before that, one job of each kind is
run undisturbed: the SHA-256 of its file is what every other job of the kind has to come to.
``--servers`` has it stand on PostgreSQL and an S3 store, which are struck as well.

- ``bench.service`` runs the parts; ``strikes`` says what is done to them.
- ``callers`` calls the API, and keeps what was answered: ``history``.
- ``checker`` decides by that alone: it knows neither the service nor its files.

The last line counts jobs that were accepted and are gone or failed (``lost``), that were made or
published twice (``duplicated``), whose file is another than undisturbed (``wrong``), and that
never ended (``stuck``).
"""
