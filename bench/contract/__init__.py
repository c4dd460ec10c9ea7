"""Whether the service keeps to what ``/openapi.json`` says, whatever it is sent.

``python -m bench.contract --requests 50000 --seeds 3`` runs the service as an operator would, with
a key, some models, data and jobs in every status, and lets Schemathesis at it with all of its
checks: no 5xx, no answer outside the description, nothing let in without the key. ``hooks`` has it
ask for what is there most of the time, since an id that was made up is only ever a 404.

The last line counts the requests that the API's own log has, and the failures that were reported.
"""
