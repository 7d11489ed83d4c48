"""The test servers: a service that is only watched. One project, started once for each of them."""
