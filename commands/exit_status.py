"""How commands end, beside 0: the status of bad input, and of a command that ctrl-C stopped, as shells count it."""

NOT_ACCEPTED = 2
STOPPED = 130
