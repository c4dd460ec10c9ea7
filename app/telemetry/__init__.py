"""How the service can be watched: traces and logs, of API and worker alike."""
