"""HTTP only: endpoints translate, one table maps domain errors to problem+json."""
