/* The kinds of fault that anthill-chaos knows. Each command takes argv with argv[0] =
 * "anthill-chaos kills" and returns the exit code: 0 all is well, 77 skipped: not possible here. */
#ifndef ANTHILL_TESTS_CHAOS_CHAOS_COMMAND_H
#define ANTHILL_TESTS_CHAOS_CHAOS_COMMAND_H

int chaos_kills(int argc, char **argv);
int chaos_stops(int argc, char **argv);
int chaos_network(int argc, char **argv);
int chaos_disk(int argc, char **argv);
int chaos_clients(int argc, char **argv);
int chaos_soak(int argc, char **argv);

#endif
