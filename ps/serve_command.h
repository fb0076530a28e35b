/* The subcommand `serve` of anthill-ps; returns the program's exit code. */
#ifndef ANTHILL_PS_SERVE_COMMAND_H
#define ANTHILL_PS_SERVE_COMMAND_H

int serve_command(int argc, char **argv);

#endif
