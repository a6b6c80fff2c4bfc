"""`usp`: the command line of administrators and automation, over a manager's REST API. It imports no daemon."""
