"""Files and orders of strangers: what is hostile or broken is refused, and the service goes on.

``python -m bench.hostile --mutations 1000 --seed 1`` runs the service as an operator would and
sends it, by the public API alone, a corpus of models, datasets and specs that nobody should send,
then as many mutations of valid ones as are asked for. Payloads are harmless: one that runs leaves a
marker file, one that reads finds a planted secret, one that swells asks for memory.

- ``originals`` has the valid files that everything is made from; ``edits`` changes them.
- ``containers``, ``configurations``, ``weights``, ``datasets`` and ``specs`` are the corpus;
  ``models`` makes valid models of many kinds, which have to succeed.
- ``mutations`` changes valid files at random. What has to come of one nobody knows beforehand:
  where the service would take it, ``judge`` opens the file with plain Keras or NumPy, in a process
  of its own, and where that objects, a job is made of it, which has to fail.
- ``planted`` knows what must not be found, and looks for it.
- ``visits`` sends, waits, and remembers what was answered; ``trial`` does so between two control
  jobs, and ``findings`` counts.

The last line counts cases, answers 5xx (``server_errors``), processes of the service that ended,
static checks included (``deaths``), bad files that were not refused (``succeeded_bad``), payloads
that ran (``markers``), answers, logs and files with the secret in them (``secrets``), valid files
that were not taken or came to another result than before (``valid_failed``), and says how long
the slowest refusal took, whether at the door or by a job that failed.
"""
