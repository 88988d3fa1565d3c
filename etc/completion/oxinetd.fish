# Completion for fish: the program that is here says what it can do.
oxinetd completions fish | source
