/* The subcommands `coordinator` and `status` of anthill-ps; each returns the program's exit code.
 */
#ifndef ANTHILL_PS_COORDINATOR_COMMAND_H
#define ANTHILL_PS_COORDINATOR_COMMAND_H

int coordinator_command(int argc, char **argv);
int status_command(int argc, char **argv);

#endif
